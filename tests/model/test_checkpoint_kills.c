#include "model/kills.h"

const int checkpoint_kills = 5;

/* mnist-cnn as PyTorch trains it, dropout on: Adam and SGD with momentum; one rank and two. */
#include "worker/curves.h"

const char *const curve_file = "curve_cnn.json";
const char *const curve_model = "mnist-cnn";

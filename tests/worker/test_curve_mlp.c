/* mlp as PyTorch trains it: SGD with and without momentum, Adam, AdamW; one rank and two. */
#include "worker/curves.h"

const char *const curve_file = "curve_mlp.json";
const char *const curve_model = "mlp";

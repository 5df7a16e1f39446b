/* .safetensors files of any bytes: read or refused, never a crash. */
#include "base/context.h"
#include "model/checkpoint/safetensors.h"
#include "model/tensor/scope.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static td_context *context;
    if (!context && td_context_open(&context) < 0) return 0;
    td_state_dict dict = {0};
    td_safetensors_parse(data, size, "input", &dict);
    td_state_dict_clear(&dict);
    return 0;
}

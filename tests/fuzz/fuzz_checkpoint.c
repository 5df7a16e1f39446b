/* checkpoint.json of any bytes: read or refused, never a crash. The guard lets little past it, so what is behind it
 * is fed too: the manifest, and what `tandem train` keeps in it. */
#include "model/checkpoint/manifest.h"
#include "worker/facts.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    checkpoint_manifest m = {0};
    checkpoint_manifest_read((const char *)data, size, "input", &m);
    checkpoint_manifest_clear(&m);
    checkpoint_manifest_parse((const char *)data, size, "input", &m);
    checkpoint_manifest_clear(&m);
    worker_facts facts;
    worker_facts_read((const char *)data, size, "input", &facts);
    return 0;
}

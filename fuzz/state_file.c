/* Any bytes as a node's state file: keys or a refusal, never half of them. */
#include "state/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct state_keys keys = { 0 };
    static const struct secret_key none;

    if (state_keys_parse(span_make(data, len), "https://control.example", &keys))
        must(!crypto_equal(&keys.machine, &none, sizeof(none)) || len >= 2 * KEY_BYTES);
    return 0;
}

/* What a lab finds in its folder: refused, or a registry that it would write down the same way. */
#include "lab/save.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct registry first, second;
    struct secret_key key, same;
    struct buf once, twice;

    if (crypto_init())
        return 0;
    registry_init(&first);
    registry_init(&second);
    buf_init(&once, LAB_SAVE_BYTES_MAX);
    buf_init(&twice, LAB_SAVE_BYTES_MAX);
    if (lab_save_read(span_make(data, len), &first, &key)) {
        must(lab_save_write(&once, &first, &key) == 0);
        must(lab_save_read(buf_span(&once), &second, &same));
        must(lab_save_write(&twice, &second, &same) == 0);
        must(span_equal(buf_span(&once), buf_span(&twice)));
    }
    buf_deinit(&once);
    buf_deinit(&twice);
    registry_deinit(&first);
    registry_deinit(&second);
    return 0;
}

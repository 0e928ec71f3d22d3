/* Any bytes as a packed netmap: the text as long as its head says, or a refusal. */
#include "state/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char base[] = "what another node's netmap said before: nodekey:0123456789abcdef";
    struct span frame;
    struct buf out;
    uint64_t id;
    size_t want;

    if (!pack_head(span_make(data, len), &id, &want, &frame) || want > 1 << 16)
        return 0;
    must(frame.len < len);
    buf_init(&out, (1 << 16) + 1);
    if (unpack(frame, want, id ? span_from_str(base) : SPAN_NONE, &out) == 0)
        must(out.len == want);
    else
        must(out.len == 0);
    buf_deinit(&out);
    return 0;
}

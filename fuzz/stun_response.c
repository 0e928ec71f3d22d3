/* STUN answers: a parse that succeeds leaves an address, and depends on nothing behind the declared length.
 */
#include "stun/stun.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span s = span_make(data, size);
    struct stun_txid txid, again_txid;
    struct ip_port mapped, again;

    if (stun_response_parse(s, &txid, &mapped))
        return 0;
    must(stun_is(s));
    must(memcmp(txid.bytes, data + 8, sizeof(txid.bytes)) == 0);

    size_t declared = 20 + (size_t)load_be16(data + 2);

    must(declared <= size);
    must(stun_response_parse(span_make(data, declared), &again_txid, &again) == 0);
    must(ip_port_equal(&mapped, &again));
    return 0;
}

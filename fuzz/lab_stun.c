/* What arrives on the lab's STUN port: only whole requests with a good fingerprint are answered. */
#include "lab/stun.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t response[LAB_STUN_RESPONSE_BYTES_MAX];
    struct ip_port from = { .port = (uint16_t)len }, mapped;
    struct stun_txid id, back;

    if (!lab_stun_request_parse(span_make(data, len), &id))
        return 0;
    must(len >= 28);
    len = lab_stun_response_write(response, &id, &from);
    must(stun_response_parse(span_make(response, len), &back, &mapped) == 0);
    must(memcmp(&id, &back, sizeof(id)) == 0 && ip_port_equal(&mapped, &from));
    return 0;
}

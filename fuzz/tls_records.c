/* What a TLS peer may put into records once the handshake is done: judged, and never more remembered than a
 * length. Input: bit 0 of the first byte says which way. 0: raw bytes of a stream. 1: contents, each as type,
 * length, bytes. */
#include <stdlib.h>

#include "crypto/crypto.h"
#include "tls/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void raw(struct records *r, struct span bytes)
{
    static uint8_t out[RECORD_BYTES_MAX];
    size_t whole, plain;
    uint8_t type;

    while (records_measure(bytes, &whole) == 0) {
        must(whole >= RECORD_OVERHEAD_BYTES && whole <= RECORD_BYTES_MAX && whole <= bytes.len);
        if (records_open(r, span_slice(bytes, 0, whole), out, &type, &plain))
            return;
        must(plain <= whole - RECORD_OVERHEAD_BYTES);
        bytes = span_slice(bytes, whole, bytes.len);
    }
}

static void contents(struct records *r, struct span bytes)
{
    struct reader in = reader_of(bytes);
    uint8_t update[RECORD_OVERHEAD_BYTES + 5];
    int outcome = 0;

    while (in.rest.len && !outcome) {
        uint8_t type = reader_u8(&in);
        struct span content = reader_bytes(&in, reader_u8(&in));

        if (in.failed)
            return;
        outcome = records_control(r, type, content);
        must(outcome >= 0 && outcome != RECORD_E_MORE && r->skip <= 1u << 16);
        if (records_update_due(r))
            must(records_update(r, update) == sizeof(update) && !records_update_due(r));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    /* The client's secret of RFC 8448 section 3, so that the corpus has records that open. */
    uint8_t secret[32];
    struct records r;

    must(hex_decode(span_from_str("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"), secret,
                    32));
    if (!len || crypto_init() || !records_init(&r, 0x1301, secret, secret, 0, 0))
        return 0;
    if (data[0] & 1)
        contents(&r, span_make(data + 1, len - 1));
    else
        raw(&r, span_make(data + 1, len - 1));
    return 0;
}

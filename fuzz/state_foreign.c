/* Any bytes as the state file of a tsnet program: an identity or a refusal, and texts that can be shown. */
#include "state/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void is_printable(const char *text, size_t size)
{
    must(memchr(text, 0, size));
    for (; *text; text++)
        must(*text > ' ' && *text < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct state_foreign f = { 0 };
    struct state_keys keys;
    char why[STATE_WHY_BYTES] = "";
    static const struct secret_key none;
    int r = state_foreign_parse(span_make(data, len), &f, why);

    must(r == 0 || (r == STATE_E_DAMAGED && *why));
    if (r)
        return 0;
    must(!crypto_equal(&f.keys.machine, &none, sizeof(none)));
    is_printable(f.control_url, sizeof(f.control_url));
    is_printable(f.host_name, sizeof(f.host_name));
    is_printable(f.node_id, sizeof(f.node_id));
    is_printable(f.login, sizeof(f.login));
    is_printable(f.tags, sizeof(f.tags));
    is_printable(f.profile, sizeof(f.profile));
    state_foreign_keys(&f, f.control_url, &keys);
    must(f.logged_out || crypto_equal(&keys.node, &f.keys.node, sizeof(none)));
    state_foreign_words(&f, &keys, why);
    return 0;
}

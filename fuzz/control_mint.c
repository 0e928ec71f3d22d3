/* Answers of an OAuth service, and client secrets as a user writes them. The first byte chooses what, the
 * second the status. */
#include "control/mint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const int statuses[] = { 200, 201, 301, 400, 401, 403, 404, 429, 500, 999 };

/* What will stand in a header line or a request. */
static void is_clean(const char *secret, size_t max)
{
    must(secret[0] && strlen(secret) < max);
    for (; *secret; secret++)
        must(*secret > ' ' && *secret < 0x7f);
}

static void is_one_line(const char why[MINT_WHY_BYTES])
{
    must(why[0] && strnlen(why, MINT_WHY_BYTES) < MINT_WHY_BYTES);
    for (; *why; why++)
        must((uint8_t)*why >= ' ' && *why != 0x7f);
}

static void token(int status, struct span body)
{
    struct mint_token token;
    char why[MINT_WHY_BYTES];
    int r = mint_token_answer(status, body, &token, why);

    must(r >= 0 && (r || status == 200));
    if (r) {
        is_one_line(why);
        return;
    }
    is_clean(token.text, sizeof(token.text));
    must(token.life > 0 && token.life <= MINT_TOKEN_LIFE_MAX);
}

static void key(int status, struct span body)
{
    static const char *const tags[] = { "tag:a" };
    const struct mint_wish wish = { .tags = tags, .tag_count = 1 };
    char key[CONTROL_AUTH_KEY_BYTES_MAX + 1], why[MINT_WHY_BYTES];
    int r = mint_key_answer(status, body, &wish, key, why);

    must(r >= 0 && (r || status == 200 || status == 201));
    if (r)
        is_one_line(why);
    else
        is_clean(key, sizeof(key));
}

static void secret(struct span text)
{
    struct control_oauth parts;
    char copy[4096], base[CONTROL_URL_BYTES];
    unsigned parameter;

    if (!text_copy(copy, sizeof(copy), text) || control_oauth_parse(copy, &parts, &parameter))
        return;
    must(control_oauth_is(copy) && parts.secret_len <= strlen(copy));
    control_oauth_base(copy, &parts, "https://control.example", base);
    must(!control_url_check(span_from_str(base)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct span rest = span_make(data + MIN(len, 2u), len - MIN(len, 2u));

    if (len < 2)
        return 0;
    switch (data[0] % 3) {
    case 0:
        token(statuses[data[1] % COUNT_OF(statuses)], rest);
        break;
    case 1:
        key(statuses[data[1] % COUNT_OF(statuses)], rest);
        break;
    default:
        secret(rest);
    }
    return 0;
}

/* The folder of tsnsrv (of any program built on Tailscale's tsnet): its identity becomes ours.
 *
 * tailscaled.state is a JSON object; every value is the base64 of bytes. Keys and values that matter are in
 * docs/protocol/tsnet-state.md. Secrets are decoded into buffers of our own and wiped; there is never a tree
 * of them. The file is only read.
 */
#include "state/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define HOSTED "https://controlplane.tailscale.com"
#define HOSTED_OLD "https://login.tailscale.com"

/* ---- values ------------------------------------------------------------------------- */

/* The text between the quotes of a string without escapes; empty for anything else. */
static struct span plain_string(struct span value)
{
    struct span s = text_trim(value);

    if (s.len < 2 || s.data[0] != '"' || s.data[s.len - 1] != '"')
        return SPAN_NONE;
    s = span_slice(s, 1, s.len - 2);
    return s.len && memchr(s.data, '\\', s.len) ? SPAN_NONE : s;
}

static struct span text_of(struct span object, const char *member)
{
    return plain_string(json_text_member(object, member));
}

/* A member that is base64, decoded. The caller wipes and frees; empty if it is not there or no base64. */
struct decoded {
    uint8_t *bytes;
    size_t len, size;
};

static void decoded_free(struct decoded *d)
{
    if (d->bytes)
        wipe(d->bytes, d->size);
    free(d->bytes);
    *d = (struct decoded) { 0 };
}

static struct span decode(struct span object, const char *member, struct decoded *out)
{
    struct span text = text_of(object, member);

    *out = (struct decoded) { .size = text.len + 1 };
    out->bytes = malloc(out->size);
    if (!out->bytes || !base64_decode(text, out->bytes, out->size, &out->len)) {
        decoded_free(out);
        return SPAN_NONE;
    }
    return span_make(out->bytes, out->len);
}

/* False: it is there and no key. An absent or zero key stays zero. */
static bool take_key(struct span text, const char *prefix, uint8_t out[KEY_BYTES])
{
    return !text.len || key_parse(text, prefix, out);
}

static bool is_zero(const uint8_t key[KEY_BYTES])
{
    static const uint8_t zero[KEY_BYTES];

    return crypto_equal(key, zero, KEY_BYTES);
}

/* What goes to a log or a terminal: printable, and cut to its room. */
static void take_text(char *out, size_t size, struct span s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len && n + 1 < size; i++)
        if (s.data[i] > ' ' && s.data[i] < 0x7f)
            out[n++] = (char)s.data[i];
    out[n] = '\0';
}

static void take_tags(struct state_foreign *f, struct span list)
{
    struct json_cursor c = json_cursor_of(list);
    struct span value;
    size_t used = 0;

    while (list.len && json_cursor_next(&c, NULL, &value)) {
        char tag[80];

        take_text(tag, sizeof(tag), plain_string(value));
        if (*tag && used + strlen(tag) + 2 < sizeof(f->tags))
            used += (size_t)snprintf(f->tags + used, sizeof(f->tags) - used, "%s%s", used ? "," : "", tag);
    }
}

/* ---- the file ------------------------------------------------------------------------- */

static int damaged(char why[STATE_WHY_BYTES], const char *sentence)
{
    snprintf(why, STATE_WHY_BYTES, "%s %s", STATE_FOREIGN_FILE, sentence);
    return STATE_E_DAMAGED;
}

static int take_login(struct state_foreign *f, struct span login, char why[STATE_WHY_BYTES])
{
    struct secret_key old = { 0 };
    bool good;

    take_text(f->node_id, sizeof(f->node_id), text_of(login, "NodeID"));
    take_text(f->login, sizeof(f->login), text_of(json_text_member(login, "UserProfile"), "LoginName"));
    good = take_key(text_of(login, "PrivateNodeKey"), "privkey:", f->keys.node.bytes) &&
           take_key(text_of(login, "OldPrivateNodeKey"), "privkey:", old.bytes);
    if (good && !is_zero(old.bytes))
        secret_key_public(&old, &f->keys.old_node);
    wipe(&old, sizeof(old));
    f->lock_key = text_of(login, "NetworkLockKey").len > 0;
    return good ? 0 : damaged(why, "has a node key that cannot be read");
}

static int take_profile(struct state_foreign *f, struct span prefs, char why[STATE_WHY_BYTES])
{
    struct span login = json_text_member(prefs, "Config");

    if (json_text_kind(prefs) != JSON_KIND_OBJECT)
        return damaged(why, "names a profile that it does not hold");
    take_text(f->control_url, sizeof(f->control_url), text_of(prefs, "ControlURL"));
    take_text(f->host_name, sizeof(f->host_name), text_of(prefs, "Hostname"));
    take_tags(f, json_text_member(prefs, "AdvertiseTags"));
    f->logged_out = span_equal_str(text_trim(json_text_member(prefs, "LoggedOut")), "true");
    return json_text_kind(login) == JSON_KIND_OBJECT ? take_login(f, login, why) : 0;
}

static void note_others(struct state_foreign *f, struct span file)
{
    struct json_cursor c = json_cursor_of(file);
    struct span key, value;

    while (json_cursor_next(&c, &key, &value)) {
        f->profiles += text_starts_with(key, "profile-");
        f->serve |= text_starts_with(key, "_serve/");
    }
}

static int take_machine_key(struct state_foreign *f, struct span file, char why[STATE_WHY_BYTES])
{
    struct decoded d;
    struct span text = decode(file, "_machinekey", &d);
    bool good = text.len && key_parse(text_trim(text), "privkey:", f->keys.machine.bytes) &&
                !is_zero(f->keys.machine.bytes);

    decoded_free(&d);
    return good ? 0 : damaged(why, "has no machine key that can be read");
}

static int take_current_profile(struct state_foreign *f, struct span file, char why[STATE_WHY_BYTES])
{
    struct decoded name, prefs;
    int r = 0;

    take_text(f->profile, sizeof(f->profile), decode(file, "_current-profile", &name));
    decoded_free(&name);
    if (!*f->profile)
        return 0; /* never logged in: the machine key is all there is */
    r = take_profile(f, decode(file, f->profile, &prefs), why);
    decoded_free(&prefs);
    return r;
}

int state_foreign_parse(struct span file, struct state_foreign *out, char why[STATE_WHY_BYTES])
{
    struct state_foreign f = { 0 };
    int r;

    if (json_text_kind(file) != JSON_KIND_OBJECT || json_text_count(file) == SIZE_MAX)
        return damaged(why, "is not the JSON that it should be");
    r = take_machine_key(&f, file, why);
    if (!r)
        r = take_current_profile(&f, file, why);
    if (!r) {
        note_others(&f, file);
        *out = f;
    }
    wipe(&f, sizeof(f));
    return r;
}

/* ---- control servers ---------------------------------------------------------------------- */

static struct span server_of(const char *url)
{
    struct span s = span_from_str(url);

    while (s.len && s.data[s.len - 1] == '/')
        s.len--;
    return s.len && !text_equal_fold(s, span_from_str(HOSTED_OLD)) ? s : span_from_str(HOSTED);
}

bool state_same_server(const char *a, const char *b)
{
    struct span x = server_of(a), y = server_of(b);

    return text_equal_fold(x, y);
}

const char *state_foreign_server(const struct state_foreign *f)
{
    return state_same_server(f->control_url, HOSTED) ? HOSTED : f->control_url;
}

/* ---- taking over ---------------------------------------------------------------------------- */

void state_foreign_keys(const struct state_foreign *f, const char *control_url, struct state_keys *out)
{
    *out = (struct state_keys) { .machine = f->keys.machine };
    secret_key_generate(&out->disco); /* tsnet makes a new one at every start, too */
    if (f->logged_out || !state_same_server(f->control_url, control_url))
        return;
    out->node = f->keys.node;
    out->old_node = f->keys.old_node;
}

void state_foreign_words(const struct state_foreign *f, const struct state_keys *taken,
                         char why[STATE_WHY_BYTES])
{
    bool node = !is_zero(taken->node.bytes);

    snprintf(why, STATE_WHY_BYTES, "identity taken from %s: machine key%s%s%s%s%s%s", STATE_FOREIGN_FILE,
             node ? " and node key" : "", *f->host_name ? ", host name " : "", f->host_name,
             *f->node_id ? ", node " : "", f->node_id,
             node            ? ""
             : f->logged_out ? "; it was logged out, so it registers anew"
             : is_zero(f->keys.node.bytes)
                 ? "; it was never logged in, so it registers"
                 : "; its node key is of another control server, so it registers with this one");
}

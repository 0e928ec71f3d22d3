/* tailcfg/response.c - answers to registration and to GET /key */
#include "tailcfg/decode.h"

#include <errno.h>

int tailcfg_register_response_parse(struct span text, struct tailcfg_register_response *out)
{
    OWNED(json_freep) struct json *root = NULL;
    int r = decode_parse(text, TAILCFG_SMALL_BYTES_MAX, JSON_KIND_OBJECT, &root);
    struct decode d = { .object = root, .arena = &out->arena }, user = d, login = d;

    *out = (struct tailcfg_register_response) { .node_key_expired = false };
    if (r)
        return r;
    arena_init(&out->arena, TAILCFG_SMALL_BYTES_MAX);
    out->node_key_expired = decode_flag(&d, "NodeKeyExpired");
    out->machine_authorized = decode_flag(&d, "MachineAuthorized");
    out->auth_url = decode_text(&d, "AuthURL");
    out->error = decode_text(&d, "Error");
    out->node_key_signature = decode_base64(&d, "NodeKeySignature", NULL);
    if (json_get_object(root, "User", &user.object) == JSON_GOT) {
        (void)json_get_i64(user.object, "ID", &out->user_id);
        out->user_display_name = decode_text(&user, "DisplayName");
    }
    if (json_get_object(root, "Login", &login.object) == JSON_GOT)
        out->login_name = decode_text(&login, "LoginName");
    r = decode_result(&d);
    if (r)
        tailcfg_register_response_deinit(out);
    return r;
}

void tailcfg_register_response_deinit(struct tailcfg_register_response *r)
{
    struct arena a = r->arena;

    arena_deinit(&a);
    *r = (struct tailcfg_register_response) { .node_key_expired = false };
}

int tailcfg_server_key_parse(struct span text, struct public_key *out)
{
    OWNED(json_freep) struct json *root = NULL;
    int r = decode_parse(text, TAILCFG_SMALL_BYTES_MAX, JSON_KIND_OBJECT, &root);
    struct decode d = { .object = root };

    if (r)
        return r;
    decode_key(&d, "publicKey", "mkey:", out->bytes, NULL);
    return d.bad || public_key_is_zero(out) ? TAILCFG_E_SHAPE : 0;
}

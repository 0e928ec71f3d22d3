/* lab/register.c - POST /machine/register: who wants to join, and what it is told */
#include <stdio.h>
#include <stdlib.h>

#include "lab/internal.h"

static void get_key(const struct json *root, const char *name, struct public_key *out)
{
    struct span text;

    if (json_get_string(root, name, &text) != JSON_GOT || !key_parse(text, "nodekey:", out->bytes))
        *out = (struct public_key) { { 0 } };
}

bool lab_registration_parse(const struct json *root, const struct public_key *machine, struct asked *out)
{
    struct span text;

    *out = (struct asked) { .in.machine = *machine };
    get_key(root, "NodeKey", &out->in.key);
    get_key(root, "OldNodeKey", &out->in.old_key);
    json_get_int(root, "Version", 0, INT32_MAX, &out->in.capability);
    json_get_bool(root, "Ephemeral", &out->in.ephemeral);
    json_get_string(json_member(root, "Auth"), "AuthKey", &out->in.auth_key);
    json_get_string(json_member(root, "Hostinfo"), "Hostname", &out->in.hostname);
    /* The URL as it was given ends with the token. */
    if (json_get_string(root, "Followup", &text) == JSON_GOT && text.len >= REGISTRY_TOKEN_BYTES - 1)
        out->in.followup = span_slice(text, text.len - (REGISTRY_TOKEN_BYTES - 1), text.len);
    if (json_get_string(root, "Expiry", &text) == JSON_GOT && !time_parse_rfc3339(text, &out->expiry))
        out->expiry = 0;
    return !public_key_is_zero(&out->in.key);
}

static void put_user(struct json_writer *w, const struct registry *r, const struct registry_node *n)
{
    const struct registry_user *u = n ? registry_user(r, n->user) : NULL;
    const char *display = u ? u->display : n ? "Tagged Devices" : "";
    const char *login = u ? u->login : n ? "tagged-devices" : "";
    int64_t id = n ? n->user : 0;

    json_object_begin(w, "User");
    json_put_i64(w, "ID", id);
    json_put_str(w, "DisplayName", display);
    json_object_end(w);
    json_object_begin(w, "Login");
    json_put_i64(w, "ID", id);
    json_put_str(w, "Provider", "lab");
    json_put_str(w, "LoginName", login);
    json_put_str(w, "DisplayName", display);
    json_object_end(w);
}

static void answer(struct request *q, const struct registry_node *n, bool expired, const char *url,
                   const char *error)
{
    struct lab_control *c = q->session->control;
    struct json_writer w;

    buf_clear(&c->text);
    w = json_writer_of(&c->text);
    json_object_begin(&w, NULL);
    put_user(&w, &c->registry, n);
    json_put_bool(&w, "NodeKeyExpired", expired);
    json_put_bool(&w, "MachineAuthorized", n && n->approved);
    json_put_str(&w, "AuthURL", url);
    json_put_str(&w, "Error", error);
    json_object_end(&w);
    if (json_writer_done(&w))
        lab_request_answer(q, 500, NULL, SPAN_NONE);
    else
        lab_request_answer(q, 200, "application/json", buf_span(&c->text));
}

/* A log-out: an expiry in the past for the key in use. */
static bool logs_out(const struct asked *a, const struct registry_node *n, int64_t wall)
{
    return a->expiry && a->expiry < wall && n && public_key_equal(&n->key, &a->in.key);
}

static void log_out(struct request *q, const struct asked *a, struct registry_node *n)
{
    struct lab_control *c = q->session->control;

    if (n->ephemeral)
        lab_control_remove(c, n);
    else
        registry_expire(&c->registry, n, a->expiry);
    lab_control_changed(c);
    answer(q, NULL, true, "", "");
}

static void login_needed(struct request *q, const struct asked *a, const char *token)
{
    struct lab_control *c = q->session->control;
    char url[LAB_URL_BYTES + REGISTRY_TOKEN_BYTES + 16], name[REGISTRY_NAME_BYTES];

    snprintf(url, sizeof(url), "%s/login/%s", c->url, token);
    if (!text_copy(name, sizeof(name), a->in.hostname))
        snprintf(name, sizeof(name), "a node");
    if (c->ops && c->ops->login)
        c->ops->login(c->ctx, name, url);
    answer(q, NULL, false, url, "");
}

static void admitted(struct request *q, struct registry_node *n)
{
    struct lab_control *c = q->session->control;

    if (!n->info)
        n->info = lab_public_info(json_text_member(buf_span(&q->body), "Hostinfo"));
    if (c->ops && c->ops->registered)
        c->ops->registered(c->ctx, n);
    lab_control_changed(c);
    answer(q, n, false, "", "");
}

static void judge(struct request *q, const struct asked *a)
{
    struct lab_control *c = q->session->control;
    struct registration_result result;
    int64_t wall = ev_wall_clock();
    struct registry_node *n = registry_by_machine(&c->registry, &a->in.machine);

    if (logs_out(a, n, wall)) {
        log_out(q, a, n);
        return;
    }
    switch (registry_register(&c->registry, &a->in, wall, &result)) {
    case 0:
        admitted(q, result.node);
        break;
    case REGISTRATION_LOGIN:
        login_needed(q, a, result.token);
        break;
    case REGISTRATION_WAIT: /* answered when the person has logged in (lab_request_retry_logins) */
        memcpy(q->token, result.token, sizeof(q->token));
        break;
    case REGISTRATION_EXPIRED:
        answer(q, result.node, true, "", "");
        break;
    case REGISTRATION_REFUSED:
        answer(q, NULL, false, "", result.why);
        break;
    default:
        lab_request_answer(q, 500, NULL, span_from_str("out of memory"));
    }
}

static void refuse_on_purpose(struct request *q)
{
    answer(q, NULL, false, "", "refused on purpose");
}

void lab_register_handle(struct request *q)
{
    OWNED(json_freep) struct json *root = NULL;
    struct lab_control *c = q->session->control;
    struct asked asked;

    if (!*q->token)
        c->counters.registrations++;
    q->token[0] = '\0';
    if (lab_fault_inject(q, c->register_fault, &c->register_faults, refuse_on_purpose,
                         span_from_str("{\"User\":[nonsense")))
        return;
    if (json_parse(buf_span(&q->body), LAB_REQUEST_BYTES_MAX, &root) ||
        !lab_registration_parse(root, &q->session->machine, &asked))
        lab_request_answer(q, 400, NULL, span_from_str("not a registration"));
    else
        judge(q, &asked);
}

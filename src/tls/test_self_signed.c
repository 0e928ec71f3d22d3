#include "check.h"

#include <errno.h>

#include "tls/tls.h"

struct side {
    struct stream *stream;
    unsigned seen;
};

static void on_event(struct stream *s, unsigned events, time_ns now)
{
    struct side *side = s->owner;

    (void)now;
    side->seen |= events;
}

/* Client and server shake hands; what the client saw. */
static unsigned shake(struct tls_identity *identity, const char *server_name, const char *pin)
{
    struct tls_server_config server_config = { .identity = identity };
    struct tls_client_config client_config = { .server_name = server_name, .verify_name = pin };
    struct side server = { 0 }, client = { 0 };
    struct stream_pair *pair;
    struct tls_server *servers;
    struct tls_client *clients;
    char why[TLS_WHY_BYTES];

    assert_int_equal(stream_pair_new(&pair, &(struct stream_pair_options) { 0 }), 0);
    assert_int_equal(tls_server_new(&servers), 0);
    assert_int_equal(tls_client_new(&clients, NULL, why), 0);
    assert_int_equal(tls_server_stream(&server.stream, servers, stream_pair_end(pair, 0), &server_config), 0);
    assert_int_equal(tls_client_stream(&client.stream, clients, stream_pair_end(pair, 1), &client_config), 0);
    stream_set_owner(server.stream, &server, on_event);
    stream_set_owner(client.stream, &client, on_event);
    stream_pair_settle(pair, 0);
    stream_close(client.stream);
    stream_close(server.stream);
    stream_pair_free(pair);
    tls_server_unref(servers);
    tls_client_unref(clients);
    return client.seen;
}

static void a_client_that_knows_the_pin_connects_to_an_address_and_to_a_name(void **state)
{
    (void)state;
    static const char *const names[] = { "127.0.0.1", "lab.localhost" };

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct tls_identity *identity;
        char pin[TLS_PIN_BYTES];

        assert_int_equal(tls_identity_self_signed(&identity, names[i], pin), 0);
        assert_true(tls_identity_covers(identity, names[i]));
        assert_true(tls_verify_name_valid(pin));
        assert_true(shake(identity, names[i], pin) & STREAM_CONNECTED);
        tls_identity_unref(identity);
    }
}

static void nobody_else_trusts_it(void **state)
{
    (void)state;
    struct tls_identity *one, *two;
    char pin_one[TLS_PIN_BYTES], pin_two[TLS_PIN_BYTES];

    assert_int_equal(tls_identity_self_signed(&one, "lab.localhost", pin_one), 0);
    assert_int_equal(tls_identity_self_signed(&two, "lab.localhost", pin_two), 0);
    assert_string_not_equal(pin_one, pin_two);
    assert_false(shake(one, "lab.localhost", pin_two) & STREAM_CONNECTED);
    assert_false(shake(one, "lab.localhost", NULL) & STREAM_CONNECTED);
    tls_identity_unref(one);
    tls_identity_unref(two);
}

static void names_that_no_certificate_can_hold_are_refused(void **state)
{
    (void)state;
    struct tls_identity *i;
    char pin[TLS_PIN_BYTES];
    char long_name[66];

    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(tls_identity_self_signed(&i, "", pin), -EINVAL);
    assert_int_equal(tls_identity_self_signed(&i, long_name, pin), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_that_knows_the_pin_connects_to_an_address_and_to_a_name),
        cmocka_unit_test(nobody_else_trusts_it),
        cmocka_unit_test(names_that_no_certificate_can_hold_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

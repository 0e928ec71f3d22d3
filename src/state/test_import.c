/* The state of a tsnet program: what is taken from it, and what is refused. The file is one of tsnet 1.102.3,
 * with keys of our own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "state/internal.h"

#define MACHINE "privkey:1111111111111111111111111111111111111111111111111111111111111111"
#define NODE "privkey:2222222222222222222222222222222222222222222222222222222222222222"
#define OLD "privkey:3333333333333333333333333333333333333333333333333333333333333333"
#define ZERO "privkey:0000000000000000000000000000000000000000000000000000000000000000"
#define URL "https://headscale.example"

#define PREFS(url, out, node, old)                                                                  \
    "{\"ControlURL\": \"" url "\", \"RouteAll\": false, \"WantRunning\": true, \"LoggedOut\": " out \
    ", \"AdvertiseTags\": [\"tag:svc\", \"tag:two\"], \"Hostname\": \"web\", \"Config\": "          \
    "{\"PrivateNodeKey\": \"" node "\", \"OldPrivateNodeKey\": \"" old                              \
    "\", \"UserProfile\": {\"ID\": 1, \"LoginName\": \"alice@example.com\"}, \"NetworkLockKey\": "  \
    "\"nlpriv:44\", \"NodeID\": \"nAbC\"}}"

static char text[20000];
static struct state_foreign found;
static char why[STATE_WHY_BYTES];

static void add(const char *key, const char *value)
{
    static char encoded[8000];

    base64_encode(encoded, span_from_str(value));
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s\"%s\": \"%s\"", text[1] ? ",\n  " : "\n  ",
             key, encoded);
}

static struct span file_of(const char *machine, const char *profile, const char *prefs)
{
    strcpy(text, "{");
    if (machine)
        add("_machinekey", machine);
    if (profile)
        add("_current-profile", profile);
    if (prefs)
        add("profile-6a1c", prefs);
    strcat(text, "\n}");
    return span_from_str(text);
}

static struct span good_file(void)
{
    return file_of(MACHINE, "profile-6a1c", PREFS(URL, "false", NODE, OLD));
}

static void the_identity_of_the_current_profile_is_read(void **state)
{
    (void)state;
    struct secret_key old;
    struct public_key old_public;

    assert_int_equal(state_foreign_parse(good_file(), &found, why), 0);
    assert_int_equal(found.keys.machine.bytes[0], 0x11);
    assert_int_equal(found.keys.node.bytes[31], 0x22);
    memset(&old, 0x33, sizeof(old));
    secret_key_public(&old, &old_public);
    assert_true(public_key_equal(&found.keys.old_node, &old_public));
    assert_string_equal(found.control_url, URL);
    assert_string_equal(found.host_name, "web");
    assert_string_equal(found.node_id, "nAbC");
    assert_string_equal(found.login, "alice@example.com");
    assert_string_equal(found.tags, "tag:svc,tag:two");
    assert_string_equal(found.profile, "profile-6a1c");
    assert_int_equal(found.profiles, 1);
    assert_true(found.lock_key);
    assert_false(found.logged_out || found.serve);
}

static bool has_node_key(const char *control_url)
{
    struct state_keys keys;
    static const struct secret_key none;

    state_foreign_keys(&found, control_url, &keys);
    assert_int_equal(keys.machine.bytes[0], 0x11);
    assert_false(crypto_equal(&keys.disco, &none, sizeof(none)));
    return !crypto_equal(&keys.node, &none, sizeof(none));
}

static void a_node_key_is_only_taken_to_its_own_server(void **state)
{
    (void)state;

    assert_int_equal(state_foreign_parse(good_file(), &found, why), 0);
    assert_true(has_node_key(URL));
    assert_true(has_node_key(URL "/"));
    assert_false(has_node_key("https://other.example"));
    assert_int_equal(
        state_foreign_parse(file_of(MACHINE, "profile-6a1c", PREFS("", "false", NODE, ZERO)), &found, why),
        0);
    assert_true(has_node_key("https://controlplane.tailscale.com"));
    assert_true(has_node_key("https://login.tailscale.com/"));
    assert_true(public_key_is_zero(&found.keys.old_node)); /* all zeros mean none */
    assert_string_equal(state_foreign_server(&found), "https://controlplane.tailscale.com");
}

static void a_node_that_was_logged_out_registers_anew(void **state)
{
    (void)state;

    assert_int_equal(
        state_foreign_parse(file_of(MACHINE, "profile-6a1c", PREFS(URL, "true", NODE, OLD)), &found, why), 0);
    assert_false(has_node_key(URL));
    assert_int_equal(state_foreign_parse(file_of(MACHINE, NULL, NULL), &found, why), 0);
    assert_false(has_node_key(URL)); /* never logged in at all */
}

/* What goes to terminals and logs cannot steer them. */
static void names_of_the_file_are_printable(void **state)
{
    (void)state;
    const char *prefs =
        "{\"ControlURL\": \"" URL "\", \"Hostname\": \"we b\x7f\xc2\x9b\", \"AdvertiseTags\": "
        "[\"tag:\x7fone\"], \"Config\": {\"PrivateNodeKey\": \"" NODE "\"}}";

    assert_int_equal(state_foreign_parse(file_of(MACHINE, "profile-6a1c", prefs), &found, why), 0);
    assert_string_equal(found.host_name, "web");
    assert_string_equal(found.tags, "tag:one");
}

static void damaged_files_are_refused_with_a_reason(void **state)
{
    (void)state;
    const struct {
        struct span text;
        const char *says;
    } rows[] = {
        { span_from_str(""), "is not the JSON" },
        { span_from_str("[]"), "is not the JSON" },
        { span_from_str("{\"a\": "), "is not the JSON" },
        { span_from_str("{}"), "no machine key" },
        { span_from_str("{\"_machinekey\": \"!\"}"), "no machine key" },
        { span_from_str("{\"_machinekey\": 5}"), "no machine key" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(state_foreign_parse(rows[i].text, &found, why), STATE_E_DAMAGED);
        assert_non_null(strstr(why, rows[i].says));
    }
    assert_int_equal(state_foreign_parse(file_of(ZERO, NULL, NULL), &found, why), STATE_E_DAMAGED);
    assert_int_equal(
        state_foreign_parse(file_of(MACHINE, "profile-gone", PREFS(URL, "false", NODE, OLD)), &found, why),
        STATE_E_DAMAGED);
    assert_non_null(strstr(why, "a profile that it does not hold"));
    assert_int_equal(
        state_foreign_parse(file_of(MACHINE, "profile-6a1c", PREFS(URL, "false", "privkey:22", OLD)), &found,
                            why),
        STATE_E_DAMAGED);
    assert_non_null(strstr(why, "node key"));
}

/* Every beginning of a good file is refused or gives what the whole file gives. */
static void no_beginning_of_a_file_passes_for_the_whole(void **state)
{
    (void)state;
    struct span whole = good_file();

    for (size_t n = 0; n < whole.len; n++)
        assert_int_equal(state_foreign_parse(span_slice(whole, 0, n), &found, why), STATE_E_DAMAGED);
}

/* ---- folders ------------------------------------------------------------------------- */

static char folder[] = "/tmp/manytails-import.XXXXXX";
static char path[200];

static const char *in_folder(const char *name)
{
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void put_file(const char *name, struct span content)
{
    FILE *f = fopen(in_folder(name), "w");

    assert_non_null(f);
    assert_int_equal(fwrite(content.data, 1, content.len, f), content.len);
    fclose(f);
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(strrchr(folder, '.'), ".XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(in_folder("manytails.state"));
    unlink(in_folder("manytails.lock"));
    unlink(in_folder("tailscaled.state"));
    return rmdir(folder);
}

static void starting_in_such_a_folder_takes_the_identity_over(void **state)
{
    (void)state;
    struct state_store *store;
    struct state_keys keys, again;

    put_file("tailscaled.state", good_file());
    assert_int_equal(state_open(&store, folder, why), 0);
    assert_int_equal(state_load(store, URL, &keys, why), STATE_E_IMPORTED);
    assert_non_null(strstr(why, "machine key and node key"));
    assert_int_equal(keys.node.bytes[0], 0x22);
    assert_int_equal(access(in_folder("manytails.state"), F_OK), -1); /* the caller saves */
    assert_int_equal(state_save(store, URL, &keys), 0);
    assert_int_equal(state_load(store, URL, &again, why), 0);
    assert_true(crypto_equal(&keys, &again, sizeof(keys)));
    assert_int_equal(state_load(store, URL "/", &again, why), 0); /* the same server */
    assert_int_equal(again.node.bytes[0], 0x22);
    state_close(store);
}

/* Beginning with new keys would cost the node its name and address. */
static void a_damaged_file_stops_the_start(void **state)
{
    (void)state;
    struct state_store *store;
    struct state_keys keys;

    put_file("tailscaled.state", span_from_str("{\"_machinekey\": "));
    assert_int_equal(state_open(&store, folder, why), 0);
    assert_int_equal(state_load(store, URL, &keys, why), -EBADMSG);
    assert_non_null(strstr(why, "move it away"));
    state_close(store);
    assert_int_equal(access(in_folder("tailscaled.state"), F_OK), 0);
}

static void reading_a_folder_leaves_it_as_it_is(void **state)
{
    (void)state;

    assert_int_equal(state_foreign_read(folder, &found, why), -ENOENT);
    put_file("tailscaled.state", good_file());
    assert_int_equal(state_foreign_read(folder, &found, why), 0);
    assert_string_equal(found.node_id, "nAbC");
    assert_int_equal(access(in_folder("manytails.lock"), F_OK), -1);
}

static void the_folder_says_whose_it_is(void **state)
{
    (void)state;
    char name[STATE_NAME_BYTES];

    assert_false(state_owner(folder, name));
    put_file("tailscaled.state", good_file());
    assert_true(state_owner(folder, name));
    assert_string_equal(name, "web");
    /* What the control server called it since counts more. */
    put_file("manytails.netmap",
             span_from_str("nodekey:00\n{\"Map\":{\"Node\":{\"Name\":\"Web-1.tail.example.\"}}}"));
    assert_true(state_owner(folder, name));
    assert_string_equal(name, "web-1");
    put_file("manytails.netmap", span_from_str("nodekey:00\n{\"Map\":{\"Node\":{\"Name\":\"cut"));
    assert_true(state_owner(folder, name));
    assert_string_equal(name, "web");
    assert_int_equal(unlink(in_folder("manytails.netmap")), 0);
}

#define IN_FOLDER(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_identity_of_the_current_profile_is_read),
        cmocka_unit_test(a_node_key_is_only_taken_to_its_own_server),
        cmocka_unit_test(a_node_that_was_logged_out_registers_anew),
        cmocka_unit_test(damaged_files_are_refused_with_a_reason),
        cmocka_unit_test(names_of_the_file_are_printable),
        cmocka_unit_test(no_beginning_of_a_file_passes_for_the_whole),
        IN_FOLDER(starting_in_such_a_folder_takes_the_identity_over),
        IN_FOLDER(a_damaged_file_stops_the_start),
        IN_FOLDER(reading_a_folder_leaves_it_as_it_is),
        IN_FOLDER(the_folder_says_whose_it_is),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

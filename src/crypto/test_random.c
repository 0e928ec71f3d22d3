#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "crypto/crypto.h"

/* The library's way to the kernel, replaced: numbers that show where they were used, and a count. */
static int fetches;
static uint8_t next_value;

void randombytes_buf(void *out, size_t len);
void randombytes_buf(void *out, size_t len)
{
    fetches++;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = next_value++;
}

/* A ping is a transaction id of 8 bytes and a nonce of 24. */
static void a_dozen_pings_cost_one_fetch(void **state)
{
    (void)state;
    uint8_t id[8], nonce[24];

    crypto_thread_end();
    fetches = 0;
    for (int i = 0; i < 12; i++) {
        random_bytes(id, sizeof(id));
        random_bytes(nonce, sizeof(nonce));
    }
    assert_int_equal(fetches, 1);
}

/* The replaced source counts up, so within one supply every value is there once. */
static void no_byte_is_handed_out_twice(void **state)
{
    (void)state;
    uint8_t seen[256] = { 0 }, piece[16];

    crypto_thread_end();
    for (int i = 0; i < 16; i++) {
        random_bytes(piece, sizeof(piece));
        for (size_t k = 0; k < sizeof(piece); k++)
            assert_int_equal(seen[piece[k]]++, 0);
    }
}

static void large_and_lasting_values_come_straight_from_the_kernel(void **state)
{
    (void)state;
    uint8_t large[65];
    struct secret_key key;

    random_bytes(large, 1);
    fetches = 0;
    random_bytes(large, sizeof(large));
    secret_key_generate(&key);
    assert_int_equal(fetches, 2);
}

static void a_child_does_not_repeat_its_parent(void **state)
{
    (void)state;
    uint8_t value;
    pid_t child;
    int status;

    random_bytes(&value, 1);
    child = fork();
    if (child == 0) {
        fetches = 0;
        random_bytes(&value, 1);
        _exit(fetches);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dozen_pings_cost_one_fetch),
        cmocka_unit_test(no_byte_is_handed_out_twice),
        cmocka_unit_test(large_and_lasting_values_come_straight_from_the_kernel),
        cmocka_unit_test(a_child_does_not_repeat_its_parent),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

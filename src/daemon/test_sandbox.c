#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "daemon/sandbox.h"
#include "daemon/sandbox_internal.h"

/* A home with the folders of one service, and one that is none of its business. */
static struct world {
    char home[64], state[128], certificates[128], other[128], certificate[192], secret[192];
} w;

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(w.home, "/tmp/sandbox.XXXXXX");
    assert_non_null(mkdtemp(w.home));
    snprintf(w.state, sizeof(w.state), "%s/state", w.home);
    snprintf(w.certificates, sizeof(w.certificates), "%s/certificates", w.home);
    snprintf(w.other, sizeof(w.other), "%s/other", w.home);
    snprintf(w.certificate, sizeof(w.certificate), "%s/web.pem", w.certificates);
    snprintf(w.secret, sizeof(w.secret), "%s/secret", w.other);
    assert_int_equal(mkdir(w.certificates, 0700), 0);
    assert_int_equal(mkdir(w.other, 0700), 0);
    write_file(w.certificate, "first");
    write_file(w.secret, "secret");
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", w.home);
    return system(command);
}

static struct sandbox_folders *folders_with(const char *certificate)
{
    struct config_service service = { .state_directory = w.state, .certificate_file = (char *)certificate };
    struct config config = { .services = &service, .service_count = 1, .base_directory = w.state };
    struct sandbox_folders *f = sandbox_folders_of(&config, true);

    assert_non_null(f);
    return f;
}

/* Runs it in a child inside the sandbox; 0: it could do it, else the errno. */
static int inside(int (*what)(void))
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        struct sandbox_state s = sandbox_enter(folders_with(w.certificate));

        _exit(s.system_calls && s.landlock > 0 ? what() : 255);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status)); /* a refusal never ends the process */
    return WEXITSTATUS(status);
}

static int fails(long r)
{
    return r < 0 ? errno : 0;
}

/* ---- what it must not do -------------------------------------------------------------------- */

static int start_a_program(void)
{
    return fails(execl("/bin/true", "true", NULL));
}

static int make_a_process(void)
{
    return fails(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static int look_into_the_parent(void)
{
    return fails(ptrace(PTRACE_ATTACH, getppid(), 0, 0));
}

static int signal_the_parent(void)
{
    return fails(kill(getppid(), 0));
}

static int signal_a_thread_of_the_parent(void)
{
    return fails(tgkill(getppid(), getppid(), 0));
}

static int map_memory_to_run(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno
                                                                                                     : 0;
}

static int open_a_packet_socket(void)
{
    return fails(socket(AF_PACKET, SOCK_RAW, 0));
}

static int change_user(void)
{
    return fails(setuid(65534));
}

static int read_a_foreign_file(void)
{
    return fails(open(w.secret, O_RDONLY));
}

static int list_a_foreign_folder(void)
{
    return fails(open("/home", O_RDONLY | O_DIRECTORY));
}

static int write_a_certificate(void)
{
    return fails(open(w.certificate, O_WRONLY));
}

static int write_outside(void)
{
    return fails(open("/tmp/sandbox-test-escape", O_WRONLY | O_CREAT, 0600));
}

static int listen_on_tcp(void)
{
    struct sockaddr_in any = { .sin_family = AF_INET };
    int s = socket(AF_INET, SOCK_STREAM, 0);

    return fails(bind(s, (struct sockaddr *)&any, sizeof(any)));
}

static void what_is_forbidden_fails_and_the_process_goes_on(void **state)
{
    (void)state;
    assert_int_equal(inside(start_a_program), EPERM);
    assert_int_equal(inside(signal_the_parent), EPERM);
    assert_int_equal(inside(signal_a_thread_of_the_parent), EPERM);
    assert_int_equal(inside(open_a_packet_socket), EPERM);
    assert_int_equal(inside(change_user), EPERM);
    assert_int_equal(inside(read_a_foreign_file), EACCES);
    assert_int_equal(inside(list_a_foreign_folder), EACCES);
    assert_int_equal(inside(write_a_certificate), EACCES);
    assert_int_equal(inside(write_outside), EACCES);
    assert_int_equal(inside(listen_on_tcp), EACCES);
    assert_int_equal(inside(make_a_process), EPERM);
    /* The sanitizers need the first themselves; the second then ends at the kernel's own rule. */
    assert_int_equal(inside(map_memory_to_run), SANDBOX_SANITIZED_OR(0, EPERM));
    assert_int_equal(inside(look_into_the_parent), EPERM);
}

/* ---- what it must still do ---------------------------------------------------------------------- */

static int replace_state(void)
{
    char fresh[256], path[256];
    int fd;

    snprintf(fresh, sizeof(fresh), "%s/node/keys.new", w.state);
    snprintf(path, sizeof(path), "%s/node", w.state);
    if (mkdir(path, 0700))
        return errno;
    snprintf(path, sizeof(path), "%s/node/keys", w.state);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, "k", 1) != 1 || fsync(fd) || close(fd) || rename(fresh, path))
        return errno;
    fd = open(path, O_RDWR | O_TRUNC);
    return fd < 0 ? errno : fails(unlink(path));
}

static int read_a_certificate(void)
{
    char text[16];
    int fd = open(w.certificate, O_RDONLY);

    return fd < 0 || read(fd, text, sizeof(text)) <= 0 ? errno : 0;
}

static void *nothing(void *arg)
{
    return arg;
}

static int start_a_thread(void)
{
    pthread_t t;
    int r = pthread_create(&t, NULL, nothing, NULL);

    return r ? r : pthread_join(t, NULL);
}

static int resolve_and_trust(void)
{
    int fd = open("/etc/resolv.conf", O_RDONLY), certs = open("/etc/ssl/certs", O_RDONLY | O_DIRECTORY);

    return fd < 0 || certs < 0 ? errno : 0;
}

static int wake_a_thread(void)
{
    return fails(tgkill(getpid(), gettid(), SIGURG));
}

static int stop_itself(void)
{
    return fails(kill(getpid(), 0));
}

static int read_status_of_itself(void)
{
    return fails(open("/proc/self/status", O_RDONLY));
}

static void what_the_program_does_goes_on(void **state)
{
    (void)state;
    assert_int_equal(inside(replace_state), 0);
    assert_int_equal(inside(read_a_certificate), 0);
    assert_int_equal(inside(start_a_thread), 0);
    assert_int_equal(inside(resolve_and_trust), 0);
    assert_int_equal(inside(stop_itself), 0);
    assert_int_equal(inside(wake_a_thread), 0);
    assert_int_equal(inside(read_status_of_itself), 0);
}

/* ---- folders -------------------------------------------------------------------------------------- */

static void a_certificate_behind_a_link_allows_both_folders(void **state)
{
    struct sandbox_folders *f;
    char link[192];
    size_t found = 0;

    (void)state;
    snprintf(link, sizeof(link), "%s/link", w.home);
    assert_int_equal(symlink(w.certificate, link), 0);
    f = folders_with(link);
    for (size_t i = 0; i < f->count; i++)
        found += strcmp(f->items[i].path, w.home) == 0;
    assert_int_equal(found, 1); /* and what is below it */
    sandbox_folders_free(f);
}

static void a_reload_that_needs_another_folder_is_told_which(void **state)
{
    struct sandbox_folders *allowed = folders_with(w.certificate), *wanted = folders_with(w.secret);

    (void)state;
    assert_null(sandbox_folders_missing(allowed, allowed));
    assert_string_equal(sandbox_folders_missing(allowed, wanted), w.other);
    sandbox_folders_free(allowed);
    sandbox_folders_free(wanted);
}

/* The folders of a process whose only service keeps its state there. */
static struct sandbox_folders *folders_of_state(const char *path)
{
    struct config_service service = { .state_directory = (char *)path };
    struct config config = { .services = &service, .service_count = 1, .base_directory = w.state };
    struct sandbox_folders *f = sandbox_folders_of(&config, false);

    assert_non_null(f);
    return f;
}

static void a_service_beside_the_others_can_be_added_by_a_reload(void **state)
{
    char deep[256], web[300], git[300];
    struct sandbox_folders *allowed, *wanted;

    (void)state;
    snprintf(deep, sizeof(deep), "%s/tails", w.other);
    snprintf(web, sizeof(web), "%s/web", deep);
    snprintf(git, sizeof(git), "%s/git", deep);
    assert_int_equal(mkdir(deep, 0700), 0);
    allowed = folders_of_state(web);
    wanted = folders_of_state(git);
    assert_null(sandbox_folders_missing(allowed, wanted));
    sandbox_folders_free(allowed);
    sandbox_folders_free(wanted);
}

/* As systemd's StateDirectory= with DynamicUser= is. */
static void a_service_can_be_added_below_a_link_to_the_folder_of_all(void **state)
{
    char link[192], late[256];
    struct config_service service = { .state_directory = late };
    struct config before = { .base_directory = link },
                  after = { .base_directory = link, .services = &service, .service_count = 1 };
    struct sandbox_folders *allowed, *wanted;

    (void)state;
    snprintf(link, sizeof(link), "%s/link", w.home);
    snprintf(late, sizeof(late), "%s/late", link);
    assert_int_equal(symlink(w.other, link), 0);
    allowed = sandbox_folders_of(&before, false);
    wanted = sandbox_folders_of(&after, false);
    assert_true(allowed && wanted);
    assert_null(sandbox_folders_missing(allowed, wanted));
    sandbox_folders_free(allowed);
    sandbox_folders_free(wanted);
}

static void a_folder_of_everybody_is_not_opened_for_one_service(void **state)
{
    struct sandbox_folders *allowed = folders_of_state("/var/lib/web"),
                           *wanted = folders_of_state("/var/lib/git");

    (void)state;
    assert_string_equal(sandbox_folders_missing(allowed, wanted), "/var/lib/git");
    sandbox_folders_free(allowed);
    sandbox_folders_free(wanted);
}

static void a_folder_that_is_not_there_is_missing_too(void **state)
{
    struct sandbox_folders *allowed = folders_with(w.certificate), *wanted = calloc(1, sizeof(*wanted));

    (void)state;
    assert_int_equal(sandbox_folders_add(wanted, "/nowhere/state", SANDBOX_WRITE), 0);
    assert_string_equal(sandbox_folders_missing(allowed, wanted), "/nowhere/state");
    sandbox_folders_free(allowed);
    sandbox_folders_free(wanted);
}

static void a_folder_that_may_be_read_may_not_be_written(void **state)
{
    struct sandbox_folders *allowed = calloc(1, sizeof(*allowed)), *wanted = calloc(1, sizeof(*wanted));

    (void)state;
    assert_int_equal(sandbox_folders_add(allowed, w.other, SANDBOX_READ), 0);
    assert_int_equal(sandbox_folders_add(wanted, w.other, SANDBOX_WRITE), 0);
    assert_string_equal(sandbox_folders_missing(allowed, wanted), w.other);
    assert_null(sandbox_folders_missing(wanted, allowed));
    sandbox_folders_free(allowed);
    sandbox_folders_free(wanted);
}

/* The user that the process takes itself for; the real one unless a test says otherwise. */
static uid_t pretended;

uid_t geteuid(void)
{
    return pretended ? pretended : (uid_t)syscall(SYS_geteuid);
}

static void a_folder_of_somebody_else_is_not_opened_for_one_service(void **state)
{
    char deep[256], web[300], git[300];
    struct sandbox_folders *allowed, *wanted;

    (void)state;
    snprintf(deep, sizeof(deep), "%s/tails", w.other);
    snprintf(web, sizeof(web), "%s/web", deep);
    snprintf(git, sizeof(git), "%s/git", deep);
    assert_int_equal(mkdir(deep, 0700), 0);
    pretended = geteuid() + 1;
    allowed = folders_of_state(web);
    wanted = folders_of_state(git);
    pretended = 0;
    assert_string_equal(sandbox_folders_missing(allowed, wanted), git);
    sandbox_folders_free(allowed);
    sandbox_folders_free(wanted);
}

static void every_file_that_a_service_names_may_be_read(void **state)
{
    char header[256];
    char *headers[] = { header };
    struct sandbox_folders *wanted = calloc(1, sizeof(*wanted));
    struct config_service services[] = {
        { .certificate_file = w.secret },
        { .key_file = w.secret },
        { .auth_key_path = w.secret },
        { .upstream_header_files = { .items = headers, .count = 1 } },
    };

    (void)state;
    snprintf(header, sizeof(header), "Authorization: %s", w.secret);
    assert_int_equal(sandbox_folders_add(wanted, w.other, SANDBOX_READ), 0);
    for (size_t i = 0; i < COUNT_OF(services); i++) {
        struct config config = { .services = &services[i], .service_count = 1 };
        struct sandbox_folders *allowed = sandbox_folders_of(&config, false);

        assert_non_null(allowed);
        assert_null(sandbox_folders_missing(allowed, wanted));
        sandbox_folders_free(allowed);
    }
    sandbox_folders_free(wanted);
}

/* From the sixth version of Landlock on, files alone fence signals in; the filter of system calls does
 * everywhere. */
static void the_fence_of_files_keeps_signals_in_where_the_kernel_can(void **state)
{
    struct sandbox_folders *f = folders_with(w.certificate);
    pid_t child = fork();
    int status = 0;

    (void)state;
    if (child == 0) {
        int version = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -1 : sandbox_files_enter(f);

        _exit(version <= 0 ? 255 : signal_the_parent() == (version >= 6 ? EPERM : 0) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    sandbox_folders_free(f);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(what_is_forbidden_fails_and_the_process_goes_on),
        T(what_the_program_does_goes_on),
        T(a_certificate_behind_a_link_allows_both_folders),
        T(a_reload_that_needs_another_folder_is_told_which),
        T(a_service_beside_the_others_can_be_added_by_a_reload),
        T(a_service_can_be_added_below_a_link_to_the_folder_of_all),
        T(a_folder_of_everybody_is_not_opened_for_one_service),
        T(a_folder_that_is_not_there_is_missing_too),
        T(a_folder_that_may_be_read_may_not_be_written),
        T(a_folder_of_somebody_else_is_not_opened_for_one_service),
        T(every_file_that_a_service_names_may_be_read),
        T(the_fence_of_files_keeps_signals_in_where_the_kernel_can),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

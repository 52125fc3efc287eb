/* map_guard_test.c - a file that shrinks under its map: who is told, and what happens if nobody is. Each case is a
 * child process, since it ends by it. */
#include "fovea/file_fault.h"
#include "gguf/file_map.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "map_guard_test.tmp"
enum { PAGES = 4, TOLD_SHORTENED = 40, TOLD_UNREADABLE = 41, TOLD_BEFORE = 42 };

static int mark; /* what the handler is handed */

static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static void write_file(void) {
    int file = open(PATH, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(file >= 0 && ftruncate(file, (off_t)(PAGES * page_bytes())) == 0);
    close(file);
}

static void shorten(void) {
    if (truncate(PATH, 0) != 0) _exit(1);
}

/* In the child: no assertion works there. */
static void told(void *context, const char *path, bool shortened) {
    if (strcmp(path, PATH) != 0 || context != &mark) _exit(2);
    _exit(shortened ? TOLD_SHORTENED : TOLD_UNREADABLE);
}

static void told_and_returns(void *context, const char *path, bool shortened) {
    (void)context, (void)path, (void)shortened;
}

static void before(int number) {
    (void)number;
    _exit(TOLD_BEFORE);
}

static fv_file_map map_file(void) {
    fv_file_map map = {0};
    if (fv_file_map_open(&map, PATH, NULL) != FV_OK) _exit(3);
    return map;
}

static void touch(const void *bytes) {
    volatile unsigned char sum = *((const volatile unsigned char *)bytes + page_bytes());
    (void)sum;
}

static void fault_is_told(void) {
    (void)fv_file_fault_handle(told, &mark);
    fv_file_map map = map_file();
    shorten();
    touch(map.bytes);
}

/* A file that is gone, its bytes too: nothing says that it was shortened. */
static void fault_of_a_removed_file(void) {
    (void)fv_file_fault_handle(told, &mark);
    fv_file_map map = map_file();
    shorten();
    if (unlink(PATH) != 0) _exit(4);
    touch(map.bytes);
}

static void without_a_handler(void) {
    signal(SIGBUS, SIG_DFL);
    fv_file_map map = map_file();
    shorten();
    touch(map.bytes);
}

static void handler_that_was_taken_away(void) {
    signal(SIGBUS, before);
    (void)fv_file_fault_handle(told, &mark);
    (void)fv_file_fault_handle(NULL, NULL);
    fv_file_map map = map_file();
    shorten();
    touch(map.bytes);
}

static void *foreign_map(void) {
    int file = open(PATH, O_RDONLY);
    return mmap(NULL, PAGES * page_bytes(), PROT_READ, MAP_PRIVATE, file, 0);
}

static void fault_in_a_foreign_map(void) {
    signal(SIGBUS, before);
    (void)fv_file_fault_handle(told, &mark);
    fv_file_map map = map_file(), closed = map_file();
    fv_file_map_close(&closed);
    void *foreign = foreign_map();
    shorten();
    touch(foreign);
    touch(map.bytes);
}

static void handler_that_returns(void) {
    signal(SIGBUS, before);
    (void)fv_file_fault_handle(told_and_returns, NULL);
    fv_file_map map = map_file();
    shorten();
    touch(map.bytes);
}

static void handler_that_returns_to_the_default(void) {
    signal(SIGBUS, SIG_DFL);
    (void)fv_file_fault_handle(told_and_returns, NULL);
    fv_file_map map = map_file();
    shorten();
    touch(map.bytes);
}

static int status_of(void (*work)(void)) {
    int status = 0;
    write_file();
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        work();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    unlink(PATH);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void faults_go_to_the_handler(void **state) {
    (void)state;
    assert_int_equal(status_of(fault_is_told), TOLD_SHORTENED);
    assert_int_equal(status_of(fault_of_a_removed_file), TOLD_UNREADABLE);
}

static void what_is_not_ours_happens_as_before(void **state) {
    (void)state;
    assert_int_equal(status_of(without_a_handler), 128 + SIGBUS);
    assert_int_equal(status_of(handler_that_was_taken_away), TOLD_BEFORE);
    assert_int_equal(status_of(fault_in_a_foreign_map), TOLD_BEFORE);
    assert_int_equal(status_of(handler_that_returns), TOLD_BEFORE);
    assert_int_equal(status_of(handler_that_returns_to_the_default), 128 + SIGBUS);
}

static void maps_say_whether_their_file_was_written_to(void **state) {
    (void)state;
    write_file();
    fv_file_map map = map_file();
    assert_string_equal(fv_file_map_path(&map), PATH);
    assert_true(fv_file_map_is_unchanged(&map));
    assert_int_equal(rename(PATH, PATH ".old"), 0); /* replaced as a whole: the map has the old one's bytes */
    assert_true(fv_file_map_is_unchanged(&map));
    write_file();
    assert_true(fv_file_map_is_unchanged(&map));
    assert_int_equal(rename(PATH ".old", PATH), 0);
    assert_int_equal(truncate(PATH, (off_t)(PAGES * page_bytes() + 1)), 0);
    assert_false(fv_file_map_is_unchanged(&map));
    fv_file_map_close(&map);
    unlink(PATH);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_go_to_the_handler),
        cmocka_unit_test(what_is_not_ours_happens_as_before),
        cmocka_unit_test(maps_say_whether_their_file_was_written_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* line_editor.c - libedit on the terminal. Between turns the terminal hands over bytes, not lines: a line that waits in
 * the system is cut at 4,095 bytes. */
#include "line_editor.h"
#include "cli.h"
#include "input.h"
#include "interrupt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYSTEM_LINE_BYTES 4095 /* of a terminal that hands over lines */

#ifndef CLI_HAVE_LIBEDIT
#define CLI_HAVE_LIBEDIT 0 /* the build description says whether there is a library for it */
#endif
#if CLI_HAVE_LIBEDIT
#include "standard_input.h"
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <wchar.h>

#define HISTORY_TURNS 1000
#define QUOTE_KEY L'\x16'      /* Ctrl-V: the next character is one of the text */
#define BROKEN_BYTE 0xDC00     /* + a byte that is not UTF-8: no character has that number */
#define PASTE_ON "\033[?2004h" /* pastes come between two marks */
#define PASTE_OFF "\033[?2004l"
#define PASTE_BEGIN "\033[200~"
#define PASTE_END "\033[201~"

static struct {
    EditLine *line;
    HistoryW *history;
    const char *prompt;
    struct termios before;
    struct winsize size;
    bool taken, pasting, ended;
    wchar_t quoted; /* comes after QUOTE_KEY; 0: none */
    fv_status status;
    fv_message *message;
} editor;

/* ---- the terminal's modes ---- */

/* Also from a signal's handler. */
static void give_back(void) {
    if (!editor.taken) return;
    if (write(STDERR_FILENO, PASTE_OFF, sizeof PASTE_OFF - 1) < 0) return;
    tcsetattr(STDIN_FILENO, TCSANOW, &editor.before);
}

static void on_kill(int number) {
    give_back();
    signal(number, SIG_DFL);
    raise(number);
}

static void take(void) {
    static const int kills[] = {SIGTERM, SIGHUP, SIGQUIT};
    struct termios quiet;
    if (tcgetattr(STDIN_FILENO, &editor.before) != 0) return;
    quiet = editor.before;
    quiet.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    quiet.c_cc[VMIN] = 1;
    quiet.c_cc[VTIME] = 0;
    editor.taken = tcsetattr(STDIN_FILENO, TCSANOW, &quiet) == 0;
    cli_interrupt_before_exit(give_back);
    for (size_t i = 0; i < sizeof kills / sizeof kills[0]; i++) {
        struct sigaction action;
        if (sigaction(kills[i], NULL, &action) != 0 || action.sa_handler != SIG_DFL) continue;
        action.sa_handler = on_kill;
        sigaction(kills[i], &action, NULL);
    }
}

/* ---- characters ---- */

static void follow_size(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0) return;
    if (size.ws_col != editor.size.ws_col || size.ws_row != editor.size.ws_row) el_resize(editor.line);
    editor.size = size;
}

/* Whether the next bytes are the mark, which is taken then. */
static bool take_mark(const char *mark) {
    const char *bytes;
    size_t length = strlen(mark);
    if (cli_input_peek(1, &bytes) < 1 || bytes[0] != mark[0]) return false;
    if (cli_input_peek(length, &bytes) < length || memcmp(bytes, mark, length) != 0) return false;
    cli_input_skip(length);
    return true;
}

/* The next character of input; what is not UTF-8 byte by byte. false: none came. */
static bool read_character(wchar_t *character) {
    const char *bytes;
    int first;
    size_t length = cli_input_peek(1, &bytes);
    unsigned char lead = length ? (unsigned char)bytes[0] : 0;
    size_t wanted = lead < 0xC2 || lead > 0xF4 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (wanted > 1 && cli_input_peek(wanted, &bytes) == wanted && fv_utf8_valid(bytes, wanted) == wanted) {
        *character = lead & (0x7F >> wanted);
        for (size_t i = 1; i < wanted; i++) *character = *character << 6 | ((unsigned char)bytes[i] & 0x3F);
        cli_input_skip(wanted);
        return true;
    }
    editor.status = cli_input_byte(&first, editor.message);
    editor.ended = editor.status == FV_OK && first < 0;
    *character = first < 0x80 ? first : BROKEN_BYTE + first;
    return editor.status == FV_OK && first >= 0;
}

/* libedit's: 1 for a character. In a paste, what would be a command is quoted: its line ends are part of the line. */
static int get_character(EditLine *line, wchar_t *character) {
    (void)line;
    if (editor.quoted) {
        *character = editor.quoted;
        editor.quoted = 0;
        return 1;
    }
    follow_size();
    while (take_mark(editor.pasting ? PASTE_END : PASTE_BEGIN)) editor.pasting = !editor.pasting;
    if (!read_character(character)) return -1;
    if (!editor.pasting || (*character >= L' ' && *character != 0x7F)) return 1;
    if (*character == L'\r') *character = L'\n';
    editor.quoted = *character;
    *character = QUOTE_KEY;
    return 1;
}

static fv_status append_character(fv_text *turn, wchar_t character) {
    uint32_t c = (uint32_t)character;
    char bytes[4];
    size_t length = 0;
    if (c >= BROKEN_BYTE + 0x80 && c <= BROKEN_BYTE + 0xFF)
        bytes[length++] = (char)(c - BROKEN_BYTE);
    else if (c < 0x80)
        bytes[length++] = (char)c;
    else {
        int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        bytes[length++] = (char)((0xF00 >> (more + 1) & 0xFF) | c >> (6 * more));
        for (; more > 0; more--) bytes[length++] = (char)(0x80 | (c >> (6 * (more - 1)) & 0x3F));
    }
    return fv_text_append(turn, bytes, length);
}

/* ---- turns ---- */

static char *prompt(EditLine *line) {
    (void)line;
    return (char *)(uintptr_t)editor.prompt;
}

/* Names of characters are those of UTF-8: how wide they are on the terminal. */
static bool open_line(void) {
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) (void)setlocale(LC_CTYPE, "C.UTF-8");
    editor.line = el_init("fovea", stdin, stderr, stderr);
    editor.history = history_winit();
    if (!editor.line || !editor.history) return false;
    HistEventW event;
    history_w(editor.history, &event, H_SETSIZE, HISTORY_TURNS);
    history_w(editor.history, &event, H_SETUNIQUE, 1);
    el_set(editor.line, EL_PROMPT, prompt);
    el_set(editor.line, EL_EDITOR, "emacs");
    el_set(editor.line, EL_SIGNAL, 0);
    el_set(editor.line, EL_SETTY, "-x", "-icanon", "-echo", NULL); /* while nothing is edited */
    el_wset(editor.line, EL_HIST, history_w, editor.history);
    el_wset(editor.line, EL_GETCFN, get_character);
    el_source(editor.line, NULL); /* ~/.editrc */
    return true;
}

void cli_editor_open(void) {
    const char *terminal = getenv("TERM");
    if (editor.line || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) return;
    if (!terminal || !terminal[0] || strcmp(terminal, "dumb") == 0) return;
    take();
    if (!editor.taken || !open_line()) cli_editor_close();
}

void cli_editor_close(void) {
    if (editor.history) history_wend(editor.history);
    if (editor.line) el_end(editor.line);
    editor.history = NULL;
    editor.line = NULL;
    give_back();
    editor.taken = false;
}

static void remember(const wchar_t *line) {
    HistEventW event;
    if (line[0] != L'\n') history_w(editor.history, &event, H_ENTER, line);
}

static fv_status edit_line(fv_text *turn, const char *shown, bool *end, fv_message *message) {
    int count = 0;
    editor.prompt = shown;
    editor.message = message;
    editor.status = FV_OK;
    editor.ended = editor.pasting = false;
    fputs(PASTE_ON, stderr);
    fflush(stderr);
    const wchar_t *line = el_wgets(editor.line, &count);
    fputs(PASTE_OFF, stderr);
    fflush(stderr);
    if (!line || count <= 0) {
        *end = editor.status == FV_OK;
        fputs("\n", stderr);
        return editor.status;
    }
    remember(line);
    if (count > 0 && line[count - 1] == L'\n') count--;
    fv_status status = FV_OK;
    for (int i = 0; i < count && status == FV_OK; i++) status = append_character(turn, line[i]);
    return status == FV_OK ? FV_OK : fv_message_set(message, status, "no memory for a line of %d characters", count);
}

#else

void cli_editor_open(void) {}
void cli_editor_close(void) {}

#endif

/* A line as the system hands it over. */
static fv_status read_line(fv_text *turn, const char *shown, bool *end, fv_message *message) {
    fv_text line = {0};
    if (isatty(STDIN_FILENO)) fputs(shown, stderr);
    fv_status status = cli_read_line(&line, end, message);
    if (status == FV_OK && line.length >= SYSTEM_LINE_BYTES && isatty(STDIN_FILENO))
        cli_warn("the terminal hands over at most %d bytes of a line: what came after them is lost; give long texts by "
                 "-f, or a line at a time with a backslash at its end",
                 SYSTEM_LINE_BYTES);
    if (status == FV_OK) status = fv_text_append(turn, line.bytes ? line.bytes : "", line.length);
    fv_text_free(&line);
    return status;
}

static fv_status next_line(fv_text *turn, bool first, bool *end, fv_message *message) {
    const char *shown = first ? "> " : ". ";
#if CLI_HAVE_LIBEDIT
    if (editor.line) return edit_line(turn, shown, end, message);
#endif
    return read_line(turn, shown, end, message);
}

fv_status cli_editor_turn(fv_text *turn, bool *end, fv_message *message) {
    bool typed = isatty(STDIN_FILENO) != 0, ended = false;
    *end = false;
    if (typed) fputs("\n", stderr);
    fv_status status = next_line(turn, true, end, message);
    while (status == FV_OK && !*end && !ended && typed && fv_text_goes_on(turn)) {
        status = fv_text_append(turn, "\n", 1);
        if (status == FV_OK) status = next_line(turn, false, &ended, message);
    }
    return status;
}

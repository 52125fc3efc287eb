/* arduino_core.h - Arduino.h as far as our sketches need it: a serial line (standard output), and an end at a delay. */
#ifndef FV_ARDUINO_CORE_H
#define FV_ARDUINO_CORE_H

#include <cstdio>
#include <cstdlib>

void setup();
void loop();

struct host_serial {
    void begin(long) {}
    void print(const char *text) { std::fputs(text, stdout); }
    void println(const char *text) { std::puts(text); }
    void println(double value, int digits) { std::printf("%.*f\n", digits, value); }
};
extern host_serial Serial;

inline void delay(unsigned long) { std::exit(0); }

#endif

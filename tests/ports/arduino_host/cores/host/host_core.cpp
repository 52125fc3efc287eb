/* host_core.cpp - runs a sketch. */
#include "arduino_core.h"

host_serial Serial;

int main() {
    setup();
    for (;;) loop();
}

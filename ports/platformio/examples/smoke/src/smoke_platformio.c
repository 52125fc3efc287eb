/* smoke_platformio.c - finds a token by attention and prints it: 47.0, then OK. */
#include <find_token.h>
#include <stdio.h>

int main(void) {
    float found = 0.0f;
    fv_status status = find_token(&found);
    if (status == FV_OK) printf("token %.1f\n", (double)found);
    puts(status == FV_OK ? "OK" : fv_status_text(status));
    return status == FV_OK ? 0 : 1;
}

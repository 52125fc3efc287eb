/* smoke_zephyr.c - finds a token by attention and prints it: 47.0, then OK. */
#include <find_token.h>
#include <zephyr/sys/printk.h>

int main(void) {
    float found = 0.0f;
    fv_status status = find_token(&found);
    if (status == FV_OK) printk("token %.1f\n", (double)found);
    printk("%s\n", status == FV_OK ? "OK" : fv_status_text(status));
    return 0;
}

// Finds a token by attention and prints it: 47.0, then OK.
#include <find_token.h>

void setup() {
    Serial.begin(115200);
}

void loop() {
    float found = 0.0f;
    fv_status status = find_token(&found);
    if (status == FV_OK) {
        Serial.print("token ");
        Serial.println(double(found), 1);
    }
    Serial.println(status == FV_OK ? "OK" : fv_status_text(status));
    delay(2000);
}

#include "platform/turn_lock.h"
#include "platform/array.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

struct fv_turn_lock {
    pthread_mutex_t change; /* held by who changes */
    pthread_mutex_t mutex;  /* of what follows */
    pthread_cond_t may_read, may_publish;
    size_t readers, waiting; /* inside; at the door */
    bool is_closed;          /* the door: somebody publishes, or is about to */
};

fv_turn_lock *fv_turn_lock_make(void) {
    fv_turn_lock *lock = fv_array_new(1, sizeof *lock);
    if (!lock) return NULL;
    bool changes = pthread_mutex_init(&lock->change, NULL) == 0, guards = pthread_mutex_init(&lock->mutex, NULL) == 0;
    bool reads = pthread_cond_init(&lock->may_read, NULL) == 0;
    bool publishes = pthread_cond_init(&lock->may_publish, NULL) == 0;
    if (changes && guards && reads && publishes) return lock;
    if (changes) pthread_mutex_destroy(&lock->change);
    if (guards) pthread_mutex_destroy(&lock->mutex);
    if (reads) pthread_cond_destroy(&lock->may_read);
    if (publishes) pthread_cond_destroy(&lock->may_publish);
    free(lock);
    return NULL;
}

void fv_turn_lock_free(fv_turn_lock *lock) {
    if (!lock) return;
    pthread_mutex_destroy(&lock->change);
    pthread_mutex_destroy(&lock->mutex);
    pthread_cond_destroy(&lock->may_read);
    pthread_cond_destroy(&lock->may_publish);
    free(lock);
}

void fv_turn_read_begin(fv_turn_lock *lock) {
    pthread_mutex_lock(&lock->mutex);
    lock->waiting++;
    while (lock->is_closed) pthread_cond_wait(&lock->may_read, &lock->mutex);
    lock->waiting--;
    lock->readers++;
    if (!lock->waiting) pthread_cond_signal(&lock->may_publish);
    pthread_mutex_unlock(&lock->mutex);
}

void fv_turn_read_end(fv_turn_lock *lock) {
    pthread_mutex_lock(&lock->mutex);
    lock->readers--;
    if (!lock->readers) pthread_cond_signal(&lock->may_publish);
    pthread_mutex_unlock(&lock->mutex);
}

void fv_turn_change_begin(fv_turn_lock *lock) { pthread_mutex_lock(&lock->change); }
void fv_turn_change_end(fv_turn_lock *lock) { pthread_mutex_unlock(&lock->change); }

void fv_turn_publish_begin(fv_turn_lock *lock) {
    pthread_mutex_lock(&lock->mutex);
    while (lock->waiting) pthread_cond_wait(&lock->may_publish, &lock->mutex); /* the turn of those */
    lock->is_closed = true;
    while (lock->readers) pthread_cond_wait(&lock->may_publish, &lock->mutex);
    pthread_mutex_unlock(&lock->mutex);
}

void fv_turn_publish_end(fv_turn_lock *lock) {
    pthread_mutex_lock(&lock->mutex);
    lock->is_closed = false;
    pthread_cond_broadcast(&lock->may_read);
    pthread_mutex_unlock(&lock->mutex);
}

/* turn_lock.h - any number of readers beside one thread that changes what they read. A change is made where nobody
 * looks; what makes it visible, the publishing, waits until no reader is inside, and readers wait for it. They take
 * turns: readers that waited for one publishing are let in before the next, and publishing waits for no reader that
 * comes after it. */
#ifndef FV_TURN_LOCK_H
#define FV_TURN_LOCK_H

typedef struct fv_turn_lock fv_turn_lock;

fv_turn_lock *fv_turn_lock_make(void); /* NULL: no memory */
void fv_turn_lock_free(fv_turn_lock *lock);

/* Around reading; not by a thread that reads or publishes already. */
void fv_turn_read_begin(fv_turn_lock *lock);
void fv_turn_read_end(fv_turn_lock *lock);

/* Around a change: one at a time. */
void fv_turn_change_begin(fv_turn_lock *lock);
void fv_turn_change_end(fv_turn_lock *lock);

/* Around publishing, by who has the change. */
void fv_turn_publish_begin(fv_turn_lock *lock);
void fv_turn_publish_end(fv_turn_lock *lock);

#endif

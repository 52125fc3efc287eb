/* stage_files.h - the files of a session whose layers several stages have: the first stage's has the name that one
 * gave, that of rank r is NAME.STAMP.rank<r>, STAMP of the save in 16 hexadecimal digits. Names alone: what is in them
 * is session_layout.h's. Private to src/llm. */
#ifndef FV_STAGE_FILES_H
#define FV_STAGE_FILES_H

#include "fovea/message.h"
#include "llm/session_segments.h"

#define FV_STAGE_FILE_NAME (4096 + 64)
#define FV_SPLIT_TEXT 256

void fv_stage_file_name(char name[FV_STAGE_FILE_NAME], const char *path, uint64_t stamp, uint32_t index);

/* Removes files of later stages beside `path`, of any rank: those of one save (0: none); all but those of two saves. */
void fv_stage_files_drop(const char *path, uint64_t stamp);
void fv_stage_files_sweep(const char *path, uint64_t stamp, uint64_t kept);

/* A stamp that no other save has. Not 0. */
uint64_t fv_stage_stamp(void);

/* "8,8,7,7", as fv_stage_split_parse() reads it; of very many stages "8,8,..." */
void fv_split_text(const fv_session_split *split, char text[FV_SPLIT_TEXT]);

#endif

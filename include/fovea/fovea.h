/* fovea.h - everything: the core, and what needs Linux, a heap and threads (model files, tokenizers, sessions). Link
 * libfovea (fovea::fovea). An installation without the hosted part has fovea/core.h and not this file: the build
 * description takes the list of hosted headers from here. */
#ifndef FOVEA_FOVEA_H
#define FOVEA_FOVEA_H

#include "fovea/core.h"

#include "fovea/answer_text.h"
#include "fovea/array_attention.h"
#include "fovea/chat.h"
#include "fovea/conversation.h"
#include "fovea/engine.h"
#include "fovea/file_fault.h"
#include "fovea/generate.h"
#include "fovea/gguf.h"
#include "fovea/index.h"
#include "fovea/machine.h"
#include "fovea/measure/attention_bench.h"
#include "fovea/measure/eval.h"
#include "fovea/measure/kld_file.h"
#include "fovea/measure/mass.h"
#include "fovea/measure/mass_table.h"
#include "fovea/measure/model_bench.h"
#include "fovea/measure/perplexity.h"
#include "fovea/measure/questions.h"
#include "fovea/measure/read_watch.h"
#include "fovea/measure/reads.h"
#include "fovea/measure/score.h"
#include "fovea/measure/tune_shares.h"
#include "fovea/measure/tuning.h"
#include "fovea/message.h"
#include "fovea/peaks.h"
#include "fovea/policy_text.h"
#include "fovea/pool.h"
#include "fovea/prefix_store.h"
#include "fovea/report_sum.h"
#include "fovea/sampler.h"
#include "fovea/schedule.h"
#include "fovea/sequence.h"
#include "fovea/session.h"
#include "fovea/session_file.h"
#include "fovea/step.h"
#include "fovea/text_look.h"
#include "fovea/tokenizer.h"
#include "fovea/tune.h"
#include "fovea/words.h"

#endif

#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tangram/files/files_read.hpp"
#include "tangram/index.hpp"

namespace tangram {

/// A study file (TOML) with every default filled in; names and meanings are those of `tangram help study`.
/// Paths are absolute after reading. std::nullopt stands for "auto".
struct Study {
    struct Data {
        std::string train, test, text = "text", label = "label";
        std::vector<std::string> labels;
        std::string tmpl;  ///< the key `template`
        std::vector<std::string> label_words;
        std::string score = "logit", completion;
        Index max_length = 64, samples = 0, test_samples = 0, seed = 1;
    };
    struct Task {
        std::string name;
        Data data;
    };
    struct {
        std::string path, init = "pretrained", adapter = "auto", head = "lm", head_init = "random";
        Index seed = 1;
    } model;
    Data data;                ///< empty where there are tasks
    std::vector<Task> tasks;  ///< [[tasks]]: several data sets in one study
    struct {
        std::vector<std::string> parameters{"all"};
        Index lora_rank = 0;
        double lora_alpha = 0;
        Index lora_seed = 1;
        std::string output;  ///< empty: margin for two labels, else logits
        std::vector<std::string> formula{"sgd"};
        std::string precision = "mixed";
        Index sketch = 0;
        std::string groups = "none";
    } kernel;
    struct Spectrum {
        std::string solver = "auto";
        bool vectors = true;
        Index count = 0, block = 0;
        std::string matrix = "formed";
        bool density = false;

        bool free() const { return matrix == "free"; }
    } spectrum;
    struct {
        std::optional<double> noise, radius;
        std::vector<double> step_size;  ///< empty: auto; several: one per step, the last goes on
        std::string center = "true";
        std::vector<Index> sizes, window;  ///< window: empty (chosen), or first and last rank
        Index repeats = 5, neighbours = 0;
    } rates;
    struct {
        bool asked = false;  ///< whether the study has the section; its keys count where it has
        std::string optimizer = "gd", loss = "squared", schedule = "constant";
        std::optional<double> learning_rate;
        std::optional<Index> steps;
        Index batch = 0, seed = 1;
        double momentum = 0, weight_decay = 0;
    } finetune;
    struct {
        std::string path;
        bool save_gram = true;
        double checkpoint_minutes = 10;
    } output;
};

/// Of the data, or of every task: data.score.
const std::string& score_of(const Study& study);

/// Whether a study must have its label words: a command that proposes them comes before they are known.
enum class LabelWords { needed, not_yet };

/// Reads a study file, which goes into the record, and applies `--set key=value` in order (the value in TOML,
/// or bare text as a string). A path that begins with ~ or $NAME has the home folder or the variable of the
/// environment there. Local.
/// @throws Error(study) naming the file, the key in full and, for an unknown key, the nearest one; also for
///         values that are not allowed and for keys that later versions serve.
Study read_study(const std::filesystem::path& file, const std::vector<std::string>& settings,
                 FilesRead& files, LabelWords words = LabelWords::needed);

/// The defaults with `--set key=value` applied: for commands without a study file. Local. @throws as
/// read_study
Study default_study(const std::vector<std::string>& settings);

/// Asks for fine-tuning by its defaults, in a study that was read without [finetune]. Local.
/// @throws Error(study) as read_study where the defaults do not go with the study
void ask_finetune(Study& study);

/// The whole study as TOML text, defaults included: what the output file keeps.
std::string to_toml(const Study& study);

/// The study that to_toml() wrote. Local. @throws Error(study) for what is none
Study study_of_toml(const std::string& text, const std::string& name);

}  // namespace tangram

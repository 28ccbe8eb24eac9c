#pragma once
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tangram/study/configuration.hpp"
#include "tangram/study/inputs.hpp"

namespace tangram {

/// The result that a key decides, and what of the key its fingerprint holds: without one of these a key
/// cannot be declared.
enum class Decides {
    nothing,     ///< how a run goes on and what the file keeps
    model,       ///< the kernel; its fingerprint holds the files of the model
    parameters,  ///< the kernel; the tensors that are selected
    outputs,     ///< the kernel; the outputs that are chosen
    examples,    ///< the kernel; what is read: tokens, labels, rows
    kernel,      ///< the kernel; the value itself
    spectrum,    ///< the spectrum; the value itself
    rates,       ///< the rates; the value itself
    finetune,    ///< the fine-tuning; the value itself
};
/// Whether it is the kernel.
bool decides_kernel(Decides decides);

/// One string or a list of them.
struct StringOrList {
    std::vector<std::string>* values;
};
/// A number, a list of them, or "auto" (empty).
struct NumbersOrAuto {
    std::vector<double>* values;
};
/// true, false or another word.
struct FlagOrWord {
    std::string* word;
};
/// Where the value of a key stands, which says its type; an optional number may be "auto".
using StudyValue =
    std::variant<std::string*, bool*, Index*, double*, std::optional<double>*, std::optional<Index>*,
                 std::vector<std::string>*, std::vector<Index>*, StringOrList, NumbersOrAuto, FlagOrWord>;
/// Of a key of the study, of [data] (and each task), of a task alone.
using Place =
    std::variant<StudyValue (*)(Study&), StudyValue (*)(Study::Data&), StudyValue (*)(Study::Task&)>;

struct Anything {};
/// Relative to the study file.
struct Path {
    bool required;
    std::vector<std::string> words = {};  ///< that stand for no path

    bool is_path(const std::string& value) const {
        return !value.empty() && std::find(words.begin(), words.end(), value) == words.end();
    }
};
/// Of a number; of a list, of every entry.
struct Bounds {
    std::optional<double> least, most;
    bool positive = false;
};
/// Words that a key may hold; of a list, every entry.
struct Choices {
    struct Choice {
        std::string word, meaning;
    };
    std::vector<Choice> choices;
    bool or_empty = false;
};
using Allowed = std::variant<Anything, Path, Bounds, Choices>;

/// All that there is to know of a key.
struct Key {
    Key(std::string full_name, Place stands, Allowed values, Decides result, std::string explanation)
        : name(std::move(full_name)),
          place(stands),
          allowed(std::move(values)),
          decides(result),
          help(std::move(explanation)) {}

    std::string name;  ///< in full: "data.samples", which is a key of every task too; "tasks.name"
    Place place;
    Allowed allowed;
    Decides decides;
    std::string help;  ///< beside what `allowed` says

    std::string section() const { return name.substr(0, name.find('.')); }
    std::string own_name() const { return name.substr(name.find('.') + 1); }
    bool in_tasks() const { return place.index() != 0; }
};

/// Every key of a study file, each once. Local.
const std::vector<Key>& keys();

/// A key with its value in a study.
struct KeyValue {
    const Key* key;
    std::optional<std::size_t> task;  ///< where it is a task's
    StudyValue value;

    std::string name() const;  ///< in full: "tasks[1].samples"
};
/// Every key of a study: those of [data] once, or where there are tasks those of each; those of [finetune]
/// where it is asked for. Local.
std::vector<KeyValue> values_of(Study& study);

/// Unlike values of one key have unlike texts; numbers to the last bit.
std::string text_of(const StudyValue& value);
/// Every value that decides this, by its key. Local.
void add_values(Inputs& inputs, const Study& study, Decides decides);
/// Whether a key of a stored study (study_keys()) counts where results are compared: all but those that are
/// known to decide nothing. Local.
bool decides_a_result(const std::string& name);

}  // namespace tangram

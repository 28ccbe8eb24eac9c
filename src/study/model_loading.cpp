#include "tangram/study/model_loading.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>

#include "tangram/files/json.hpp"
#include "tangram/jacobian/selection.hpp"
#include "tangram/model/architectures.hpp"
#include "tangram/model/network.hpp"
#include "tangram/model/unread_keys.hpp"
#include "tangram/model/unused_tensors.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/study/files_of_ranks.hpp"

namespace tangram {

namespace {

/// Whether a parameter belongs to a new classifier head (model/architectures.hpp).
bool is_classifier(const Parameter& parameter) {
    return parameter.name == "score.weight" || parameter.name.starts_with("classifier.");
}

/// Replaces the selected linear weights by their LoRA factors. With B = 0 the gradient of A is zero: B alone
/// counts.
void add_lora(LoadedModel& model, const Study& study) {
    const auto factors = factors_of(model.program);
    const auto adaptable = [&](ParameterId p) { return is_linear(factors[p]); };
    std::vector<ParameterId> adapted, selected;
    std::ranges::copy_if(model.parameters, std::back_inserter(selected), adaptable);
    if (selected.empty())
        throw Error(ExitStatus::study, ErrorKind::contradiction,
                    "kernel.lora_rank: kernel.parameters selects no linear layer to adapt");
    double alpha =
        study.kernel.lora_alpha > 0 ? study.kernel.lora_alpha : static_cast<double>(study.kernel.lora_rank);
    if (model.adapter) {
        const AdapterSettings& settings = *model.adapter_settings;
        const std::string& file = model.adapter->name();
        if (settings.rank != study.kernel.lora_rank)
            throw Error(ExitStatus::study, ErrorKind::contradiction,
                        fmt::format("kernel.lora_rank = {}, but adapter_config.json beside {} has r = {}",
                                    study.kernel.lora_rank, file, settings.rank));
        if (study.kernel.lora_alpha > 0 && settings.alpha != study.kernel.lora_alpha)
            throw Error(
                ExitStatus::study, ErrorKind::contradiction,
                fmt::format("kernel.lora_alpha = {}, but adapter_config.json beside {} has lora_alpha = {}",
                            study.kernel.lora_alpha, file, settings.alpha));
        alpha =
            settings.rank_stabilised ? settings.scale() * static_cast<double>(settings.rank) : settings.alpha;
        // The whole adapter is part of the model; the selection says which of its factors the kernel is
        // about.
        for (ParameterId p = 0; p < model.program.parameters().size(); ++p) {
            const std::string& name = model.program.parameters()[p].name;
            const Parameter factor{name.substr(0, name.rfind(".weight")) + ".lora_A.weight", {}, {}};
            if (adaptable(p) && find_factor(*model.adapter, factor.name) != nullptr) adapted.push_back(p);
        }
        for (const ParameterId p : selected)
            if (std::ranges::find(adapted, p) == adapted.end())
                throw Error(
                    ExitStatus::study, ErrorKind::contradiction,
                    fmt::format(
                        "kernel.parameters selects {}, which {} does not adapt; select its modules alone",
                        model.program.parameters()[p].name, model.adapter->name()));
    } else {
        adapted = selected;
    }
    std::vector<std::string> names;
    for (const ParameterId p : selected) {
        const std::string& name = model.program.parameters()[p].name;
        names.push_back(name.substr(0, name.rfind(".weight")));
    }
    model.program = with_lora(model.program, adapted, study.kernel.lora_rank, alpha);
    model.parameters.clear();
    for (ParameterId p = 0; p < model.program.parameters().size(); ++p) {
        const Parameter& parameter = model.program.parameters()[p];
        if (!is_lora(parameter) || (!model.adapter && !is_lora_b(parameter))) continue;
        const std::string module = parameter.name.substr(0, parameter.name.rfind(".lora_"));
        if (std::ranges::find(names, module) != names.end()) model.parameters.push_back(p);
    }
}

}  // namespace

InitialWeights LoadedModel::initial(const Study& study) const {
    InitialWeights source;
    if (weights) source.file = &*weights;
    if (adapter) source.adapter = &*adapter;
    if (adapter && study.kernel.lora_rank == 0) source.merged_scale = adapter_settings->scale();
    source.seed = static_cast<std::uint64_t>(study.model.seed);
    source.lora_seed = static_cast<std::uint64_t>(study.kernel.lora_seed);
    source.deviation = deviation;
    const bool new_head = study.model.init == "mixed", classifier = study.model.head == "classifier";
    source.drawn = [new_head, classifier](const Parameter& parameter) {
        return (classifier && is_classifier(parameter)) ||
               (new_head && parameter.kind == ParameterKind::head);
    };
    return source;
}

namespace {

/// The snapshot in a folder of the Hugging Face cache that holds no model itself: the one of the branch main,
/// or any. Empty: there is none
std::filesystem::path snapshot_in(const std::filesystem::path& folder) {
    namespace fs = std::filesystem;
    std::error_code code;
    const auto holds_a_model = [&](const fs::path& at) { return fs::exists(at / "config.json", code); };
    const fs::path main = folder / "refs" / "main";
    if (fs::is_regular_file(main, code)) {
        FilesRead for_the_message;
        std::string revision = read_text(main, for_the_message);
        while (!revision.empty() && std::isspace(static_cast<unsigned char>(revision.back())) != 0)
            revision.pop_back();
        if (!revision.empty() && holds_a_model(folder / "snapshots" / revision))
            return folder / "snapshots" / revision;
    }
    std::vector<fs::path> found;
    for (const fs::path& at : {folder / "snapshots", folder, folder / "hub"})
        for (const auto& entry : fs::directory_iterator(at, code)) {
            const fs::path& inner = entry.path();
            if (at.filename() == "snapshots" && holds_a_model(inner)) found.push_back(inner);
            if (inner.filename().string().starts_with("models--"))
                if (const fs::path snapshot = snapshot_in(inner); !snapshot.empty())
                    found.push_back(snapshot);
        }
    std::ranges::sort(found);
    return found.empty() ? fs::path() : found.front();
}

/// @throws Error(input) saying what to give instead where the folder is none of a model's
void check_folder(const std::filesystem::path& folder) {
    std::error_code code;
    const auto refuse = [&](const std::string& problem) {
        throw Error(ExitStatus::input, ErrorKind::missing, fmt::format("{}: {}", folder.string(), problem));
    };
    if (!std::filesystem::is_directory(folder, code))
        refuse("no such folder; model.path must be a Hugging Face folder");
    if (std::filesystem::exists(folder / "config.json", code)) return;
    if (const std::filesystem::path snapshot = snapshot_in(folder); !snapshot.empty())
        refuse(
            fmt::format("holds no config.json, it is a folder of Hugging Face's cache; give a snapshot as "
                        "model.path: {}",
                        snapshot.string()));
    if (std::filesystem::exists(folder / "adapter_config.json", code))
        refuse(
            "holds an adapter and no model; give the folder of the model that it was trained on as "
            "model.path, "
            "and this one as model.adapter");
}

/// The folder of the adapter that is to be applied; empty: none.
std::filesystem::path adapter_folder(const Study& study) {
    const std::filesystem::path folder = study.model.path;
    if (study.model.adapter == "none") return {};
    if (study.model.adapter != "auto") return study.model.adapter;
    std::error_code code;
    for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"})
        if (std::filesystem::exists(folder / name, code)) return folder;
    return {};
}

/// @throws Error(input) naming the file that is missing, or a key or a tensor that is not served
void open_adapter(OpenedModel& opened, const std::filesystem::path& folder) {
    std::error_code code;
    const std::filesystem::path file = folder / "adapter_model.safetensors";
    if (!std::filesystem::exists(file, code)) {
        const std::filesystem::path pickled = folder / "adapter_model.bin";
        const bool can_be_converted = std::filesystem::exists(pickled, code);
        throw Error(
            ExitStatus::input, ErrorKind::missing,
            fmt::format(
                "{}: {}; or set model.adapter = \"none\"", (can_be_converted ? pickled : file).string(),
                can_be_converted
                    ? fmt::format(
                          "can hide a program and is not read; convert it: python3 -c \"import torch, "
                          "safetensors.torch as s; s.save_file(torch.load('{}', weights_only=True), "
                          "'{}')\"",
                          pickled.string(), file.string())
                : std::filesystem::is_directory(folder, code)
                    ? "no such file, and the folder is one of an adapter; fetch it again"
                    : "there is no such folder; give an adapter's as model.adapter"));
    }
    opened.adapter_settings = read_adapter_settings(folder / "adapter_config.json", opened.files);
    opened.adapter.emplace(file, opened.files);
    adapted_modules(opened.program, *opened.adapter, opened.adapter_settings->rank);
}

/// What a person should know of how a model was opened.
struct Remarks {
    std::vector<std::string> said, warnings;

    void warn(const std::vector<std::string>& more) {
        warnings.insert(warnings.end(), more.begin(), more.end());
    }
};

/// @throws Error(input) naming a tensor of the trained head that the file lacks
void check_trained_head(const OpenedModel& opened, const Study& study) {
    if (study.model.head != "checkpoint" || study.model.init != "pretrained") return;
    for (const Parameter& parameter : opened.program.parameters())
        if (parameter.kind == ParameterKind::head && find_tensor(*opened.weights, parameter.name) == nullptr)
            throw Error(ExitStatus::input, ErrorKind::missing,
                        fmt::format("{}: tensor {} is missing, which model.head = \"checkpoint\" reads; give "
                                    "the folder of a *ForSequenceClassification, or use head = \"lm\" or "
                                    "\"classifier\"",
                                    opened.weights->name(), parameter.name));
}

OpenedModel opened_model(const Study& study, Remarks& remarks) {
    const std::filesystem::path folder = study.model.path;
    check_folder(folder);
    OpenedModel opened;
    opened.files = FilesRead(folder);
    const Config config(folder / "config.json", opened.files);
    if (study.model.head == "checkpoint") {
        opened.label_names = trained_labels(config);
        opened.program = program_with_trained_head(config, std::ssize(opened.label_names));
        opened.passed_over = token_passed_over(config, opened.program);
    } else {
        opened.program =
            program_of(config, study.model.head == "classifier" ? std::optional<Index>(1) : std::nullopt);
    }
    if (score_of(study) != "logit") opened.program.score_answers(score_of(study) == "mean-log-likelihood");
    opened.deviation = drawn_deviation(config);
    check_unread(config, known_model_keys());
    remarks.warn(config.notes());
    if (study.model.init != "random") {
        opened.weights.emplace(folder, opened.files);
        const std::string taken_off = adopt_names(*opened.weights, opened.program);
        if (!taken_off.empty())
            remarks.said.push_back(fmt::format("{}: tensors are read without {} in their names",
                                               opened.weights->name(), taken_off));
        check_trained_head(opened, study);
        remarks.warn(check_unused(opened.program, *opened.weights, [&](const Parameter& parameter) {
            return study.model.head == "classifier" && is_classifier(parameter);
        }));
    }
    const std::filesystem::path adapter = adapter_folder(study);
    if (adapter.empty()) return opened;
    open_adapter(opened, adapter);
    const AdapterSettings& settings = *opened.adapter_settings;
    remarks.warn(settings.notes);
    remarks.said.push_back(fmt::format(
        "{}: the adapter (r = {}, lora_alpha = {}) is applied{}", opened.adapter->name(), settings.rank,
        settings.alpha, study.kernel.lora_rank > 0 ? "" : ": its product is added to the weights"));
    return opened;
}

}  // namespace

OpenedModel open_model(const Study& study, const Session& session) {
    Remarks remarks;
    OpenedModel opened = read_on_all(session.world.get(), [&] { return opened_model(study, remarks); });
    agree_on_files(opened.files, session.world.get());
    for (const std::string& text : remarks.said) session.log.say(text);
    for (const std::string& text : remarks.warnings) session.log.warn(text);
    return opened;
}

LoadedModel complete_model(OpenedModel opened, const Study& study, Index labels, const Session& session) {
    LoadedModel model{std::move(opened), {}, {}};
    const MPI_Comm comm = session.world.get();
    collectively(comm, [&] {
        if (study.model.head == "classifier") model.program.set_labels(labels);
        const auto drawn_head = [](const Parameter& parameter) {
            return parameter.kind == ParameterKind::head;
        };
        if (study.model.init == "mixed" && std::ranges::none_of(model.program.parameters(), drawn_head))
            throw Error(ExitStatus::study, ErrorKind::contradiction,
                        "model.init = \"mixed\": this model's head is its token table, which is part "
                        "of the body; use head = \"classifier\"");
        model.parameters = select_parameters(model.program, study.kernel.parameters);
    });
    if (study.kernel.lora_rank > 0) collectively(comm, [&] { add_lora(model, study); });
    return model;
}

void hash_weights(LoadedModel& model, MPI_Comm comm) {
    model.sha256 = hash_mapped_files(model.files, comm);
    agree_on_files(model.files, comm);
}

template <class Real>
WeightBytes weight_bytes(const LoadedModel& model, const Study& study) {
    const InitialWeights source = model.initial(study);
    WeightBytes bytes;
    double largest_on_its_way = 0;
    for (const Parameter& parameter : model.program.parameters()) {
        const bool matrix = parameter.shape.size() > 1;
        const TensorView* const tensor = source.stored(parameter);
        if (tensor != nullptr) bytes.shared += static_cast<double>(tensor->bytes.size());
        if (matrix && source.in_place(parameter) != nullptr) continue;
        const double computed = static_cast<double>(sizeof(Real)) * static_cast<double>(parameter.size());
        (matrix && !is_lora(parameter) ? bytes.shared : bytes.own) += computed;
        if (matrix) largest_on_its_way = std::max(largest_on_its_way, computed);
    }
    bytes.own += largest_on_its_way;
    return bytes;
}

template WeightBytes weight_bytes<float>(const LoadedModel&, const Study&);
template WeightBytes weight_bytes<double>(const LoadedModel&, const Study&);

}  // namespace tangram

#include "tangram/study/model_loading.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "tangram/jacobian/selection.hpp"
#include "tangram/model/architectures.hpp"
#include "tangram/model/network.hpp"
#include "tangram/model/unread_keys.hpp"
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
        const std::filesystem::path file = std::filesystem::path(study.model.path) / "adapter_config.json";
        const AdapterSettings& settings = *model.adapter_settings;
        if (settings.rank != study.kernel.lora_rank)
            throw Error(ExitStatus::study, ErrorKind::contradiction,
                        fmt::format("kernel.lora_rank = {}, but {} has r = {}", study.kernel.lora_rank,
                                    file.string(), settings.rank));
        if (study.kernel.lora_alpha > 0 && settings.alpha != study.kernel.lora_alpha)
            throw Error(ExitStatus::study, ErrorKind::contradiction,
                        fmt::format("kernel.lora_alpha = {}, but {} has lora_alpha = {}",
                                    study.kernel.lora_alpha, file.string(), settings.alpha));
        alpha = settings.alpha;
        // The whole adapter is part of the model; the selection says which of its factors the kernel is
        // about.
        for (ParameterId p = 0; p < model.program.parameters().size(); ++p) {
            const std::string& name = model.program.parameters()[p].name;
            const Parameter factor{name.substr(0, name.rfind(".weight")) + ".lora_A.weight", {}, {}};
            if (adaptable(p) && model.adapter->find(adapter_name(factor)) != nullptr) adapted.push_back(p);
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
    source.seed = static_cast<std::uint64_t>(study.model.seed);
    source.lora_seed = static_cast<std::uint64_t>(study.kernel.lora_seed);
    source.deviation = deviation;
    const bool new_head = study.model.init == "mixed";
    source.drawn = [new_head](const Parameter& parameter) {
        return is_classifier(parameter) || (new_head && parameter.kind == ParameterKind::head);
    };
    return source;
}

OpenedModel open_model(const Study& study, const Session& session) {
    std::vector<std::string> notes;
    OpenedModel opened = read_on_all(session.world.get(), [&] {
        const std::filesystem::path folder = study.model.path;
        std::error_code code;
        if (!std::filesystem::is_directory(folder, code))
            throw Error(
                ExitStatus::input, ErrorKind::missing,
                fmt::format("{}: no such folder; model.path must be a Hugging Face folder", folder.string()));
        OpenedModel result;
        result.files = FilesRead(folder);
        const Config config(folder / "config.json", result.files);
        result.program =
            program_of(config, study.model.head == "classifier" ? std::optional<Index>(1) : std::nullopt);
        result.deviation = drawn_deviation(config);
        check_unread(config, known_model_keys());
        notes = config.notes();
        if (study.model.init != "random") result.weights.emplace(folder, result.files);
        const std::filesystem::path adapter = folder / "adapter_model.safetensors";
        if (study.kernel.lora_rank > 0 && std::filesystem::exists(adapter, code)) {
            result.adapter.emplace(adapter, result.files);
            result.adapter_settings = read_adapter_settings(folder / "adapter_config.json", result.files);
        }
        return result;
    });
    agree_on_files(opened.files, session.world.get());
    for (const std::string& note : notes) session.log.warn(note);
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
    if (model.weights)
        for (const std::string& tensor : unused_tensors(model.program, *model.weights))
            session.log.warn(fmt::format("{}: nothing uses tensor {}", model.weights->name(), tensor));
    if (study.kernel.lora_rank > 0) collectively(comm, [&] { add_lora(model, study); });
    return model;
}

void hash_weights(LoadedModel& model, MPI_Comm comm) {
    model.sha256 = hash_mapped_files(model.files, comm);
    agree_on_files(model.files, comm);
}

template <class Real>
double weight_bytes(const LoadedModel& model, const Study& study) {
    const InitialWeights source = model.initial(study);
    constexpr DType dtype = sizeof(Real) == 4 ? DType::F32 : DType::F64;
    double bytes = 0, largest_on_its_way = 0;
    for (const Parameter& parameter : model.program.parameters()) {
        const TensorView* const tensor = source.stored(parameter);
        const double copy = static_cast<double>(sizeof(Real)) * static_cast<double>(parameter.size());
        if (tensor != nullptr) bytes += static_cast<double>(tensor->bytes.size());
        if (tensor != nullptr && tensor->dtype == dtype && !parameter.transposed && !is_lora(parameter))
            continue;
        bytes += copy;
        if (parameter.transposed) largest_on_its_way = std::max(largest_on_its_way, copy);
    }
    return bytes + largest_on_its_way;
}

template double weight_bytes<float>(const LoadedModel&, const Study&);
template double weight_bytes<double>(const LoadedModel&, const Study&);

}  // namespace tangram

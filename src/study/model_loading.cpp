#include "tangram/study/model_loading.hpp"

#include <fmt/format.h>

// GCC 12 takes its own AVX-512 intrinsics for uninitialised (bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <Eigen/Dense>
#include <algorithm>

#include "tangram/arithmetic.hpp"
#include "tangram/files/hash.hpp"
#include "tangram/jacobian/selection.hpp"
#include "tangram/model/architectures.hpp"
#include "tangram/model/lora.hpp"
#include "tangram/parallel/collective_error.hpp"

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
    const auto is_linear = [&](ParameterId p) {
        return factors[p].size() == 1 && factors[p].front().kind == Factor::Kind::outer;
    };
    std::vector<ParameterId> adapted, selected;
    std::ranges::copy_if(model.parameters, std::back_inserter(selected), is_linear);
    if (selected.empty())
        throw Error(ExitStatus::study,
                    "kernel.lora_rank: kernel.parameters selects no linear layer to adapt");
    double alpha =
        study.kernel.lora_alpha > 0 ? study.kernel.lora_alpha : static_cast<double>(study.kernel.lora_rank);
    if (model.adapter) {
        const std::filesystem::path file = std::filesystem::path(study.model.path) / "adapter_config.json";
        const AdapterSettings settings = read_adapter_settings(file);
        if (settings.rank != study.kernel.lora_rank)
            throw Error(ExitStatus::study, fmt::format("kernel.lora_rank = {}, but {} has r = {}",
                                                       study.kernel.lora_rank, file.string(), settings.rank));
        if (study.kernel.lora_alpha > 0 && settings.alpha != study.kernel.lora_alpha)
            throw Error(ExitStatus::study,
                        fmt::format("kernel.lora_alpha = {}, but {} has lora_alpha = {}",
                                    study.kernel.lora_alpha, file.string(), settings.alpha));
        alpha = settings.alpha;
        // The whole adapter is part of the model; the selection says which of its factors the kernel is
        // about.
        for (ParameterId p = 0; p < model.program.parameters().size(); ++p) {
            const std::string& name = model.program.parameters()[p].name;
            const Parameter factor{name.substr(0, name.rfind(".weight")) + ".lora_A.weight", {}, {}};
            if (is_linear(p) && model.adapter->find(adapter_name(factor)) != nullptr) adapted.push_back(p);
        }
        for (const ParameterId p : selected)
            if (std::ranges::find(adapted, p) == adapted.end())
                throw Error(
                    ExitStatus::study,
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

/// Features of the training examples, rows x hidden, then their logits' targets, fitted.
template <class Real>
std::map<std::string, std::vector<double>> fitted_head(Network<Real>& network, const StudyData& data,
                                                       const KernelOutputs& outputs, MPI_Comm comm) {
    const auto head = std::get<operation::LabelLogits>(network.program().operations().back());
    const Index n = data.train.examples(), width = network.program().shape(head.in).width,
                labels = network.labels();
    int rank = 0, ranks = 1;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    std::vector<double> features(static_cast<std::size_t>(n * width), 0.0);
    collectively(comm, [&] {
        const Index together = arithmetic::examples_per_block;
        for (Index first = rank * together; first < n; first += ranks * together) {
            TokenBlock block;
            block.offsets.push_back(0);
            for (Index e = first; e < std::min(n, first + together); ++e) {
                const auto tokens = data.train.tokens(e);
                block.reads.push_back(block.offsets.back() + data.train.read(e));
                block.token_ids.insert(block.token_ids.end(), tokens.begin(), tokens.end());
                block.offsets.push_back(std::ssize(block.token_ids));
            }
            network.forward(block);
            const Real* const rows = network.value(head.in);
            std::copy_n(rows, block.examples() * width, features.begin() + first * width);
        }
    });
    sum_over_ranks(comm, features);  // each entry stands on one rank, zero elsewhere
    // Solved once: the same bits on any number of ranks.
    std::vector<double> weights(static_cast<std::size_t>(labels * width)),
        biases(static_cast<std::size_t>(labels));
    collectively(comm, [&] {
        if (rank != 0) return;
        const Index columns = width + (head.bias ? 1 : 0);
        Eigen::MatrixXd X(n, columns), Y = Eigen::MatrixXd::Zero(n, labels);
        for (Index e = 0; e < n; ++e) {
            for (Index i = 0; i < width; ++i) X(e, i) = features[static_cast<std::size_t>(e * width + i)];
            if (head.bias) X(e, width) = 1;
            const Index task = data.train.task(e), first = outputs.first_label(task);
            const Index label = first + data.train.labels[static_cast<std::size_t>(e)];
            if (outputs.output(task) == KernelOutput::margin) Y.row(e).segment(first, 2).setConstant(-0.5);
            Y(e, label) = outputs.output(task) == KernelOutput::margin ? 0.5 : 1.0;
        }
        const Eigen::MatrixXd solution = X.completeOrthogonalDecomposition().solve(Y);
        for (Index c = 0; c < labels; ++c) {
            for (Index i = 0; i < width; ++i)
                weights[static_cast<std::size_t>(c * width + i)] = solution(i, c);
            if (head.bias) biases[static_cast<std::size_t>(c)] = solution(width, c);
        }
    });
    broadcast(comm, weights, 0);
    broadcast(comm, biases, 0);
    const auto name_of = [&](ParameterId p) { return network.program().parameters()[p].name; };
    std::map<std::string, std::vector<double>> given{{name_of(head.table), weights}};
    if (head.bias) given[name_of(*head.bias)] = biases;
    return given;
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

std::pair<LoadedModel, StudyData> load_model(const Study& study, const Session& session) {
    const MPI_Comm comm = session.world.get();
    const std::filesystem::path folder = study.model.path;
    const bool classifier = study.model.head == "classifier";
    const auto compose = [&](std::optional<Index> labels) {
        return program_of(Config(folder / "config.json"), labels);
    };
    LoadedModel model = collectively(comm, [&] {
        std::error_code code;
        if (!std::filesystem::is_directory(folder, code))
            throw Error(
                ExitStatus::input,
                fmt::format("{}: no such folder; model.path must be a Hugging Face folder", folder.string()));
        LoadedModel opened;
        opened.program = compose(classifier ? std::optional<Index>(1) : std::nullopt);
        opened.deviation = Config(folder / "config.json").number("initializer_range", 0.02);
        if (study.model.init != "random") opened.weights.emplace(folder);
        const std::filesystem::path adapter = folder / "adapter_model.safetensors";
        if (study.kernel.lora_rank > 0 && std::filesystem::exists(adapter, code))
            opened.adapter.emplace(adapter);
        return opened;
    });
    StudyData data = load_data(study, model.program.vocabulary_size, model.program.maximum_length,
                               model.program.reading, session);
    if (model.program.padding_id)
        for (const DataSet* const set : {&data.train, data.test ? &*data.test : nullptr})
            for (Index e = 0; set != nullptr && e < set->examples(); ++e)
                if (std::ranges::count(set->tokens(e), *model.program.padding_id) > 0)
                    throw Error(
                        ExitStatus::input,
                        fmt::format("example {} (source row {}) holds the padding token (id {}), which this "
                                    "model's positions pass over; take it out of the text",
                                    e, set->rows[static_cast<std::size_t>(e)], *model.program.padding_id));
    std::vector<std::filesystem::path> files;
    for (const auto* const weights : {&model.weights, &model.adapter})
        if (*weights) files.insert(files.end(), (*weights)->files().begin(), (*weights)->files().end());
    model.sha256 = collectively(comm, [&] {
        return session.world.rank() == 0 && !files.empty() ? sha256_of_files(files) : std::string();
    });
    broadcast(comm, model.sha256, 0);
    collectively(comm, [&] {
        if (classifier) model.program = compose(std::ssize(data.label_ids));
        const auto drawn_head = [](const Parameter& parameter) {
            return parameter.kind == ParameterKind::head;
        };
        if (study.model.init == "mixed" && std::ranges::none_of(model.program.parameters(), drawn_head))
            throw Error(ExitStatus::study,
                        "model.init = \"mixed\": this model's head is its token table, which is part "
                        "of the body; use head = \"classifier\"");
        model.parameters = select_parameters(model.program, study.kernel.parameters);
    });
    if (model.weights)
        for (const std::string& tensor : unused_tensors(model.program, *model.weights))
            session.log.warn(fmt::format("{}: nothing uses tensor {}", model.weights->name(), tensor));
    if (study.kernel.lora_rank > 0) collectively(comm, [&] { add_lora(model, study); });
    return {std::move(model), std::move(data)};
}

template <class Real>
Network<Real> make_network(const LoadedModel& model, const Study& study, const StudyData& data,
                           const KernelOutputs& outputs, MPI_Comm comm, bool fit) {
    InitialWeights source = model.initial(study);
    const auto network = [&] { return Network<Real>(model.program, source, data.label_ids); };
    // The model's weights are the same on every rank; a bad one is one message.
    if (!fit || study.model.head_init != "least-squares") return collectively(comm, network);
    Network<Real> features = collectively(comm, network);
    source.given = fitted_head(features, data, outputs, comm);
    return collectively(comm, network);
}

template Network<float> make_network(const LoadedModel&, const Study&, const StudyData&, const KernelOutputs&,
                                     MPI_Comm, bool);
template Network<double> make_network(const LoadedModel&, const Study&, const StudyData&,
                                      const KernelOutputs&, MPI_Comm, bool);

}  // namespace tangram

#pragma GCC diagnostic pop

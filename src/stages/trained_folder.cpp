#include "trained_folder.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "tangram/error.hpp"
#include "tangram/files/json.hpp"
#include "tangram/files/safetensors_output.hpp"
#include "tangram/model/lora.hpp"

namespace tangram {

namespace {

constexpr const char* mark = "finetune.json";

/// The inputs that a folder's mark names; empty: there is none.
std::string inputs_of(const std::filesystem::path& folder) {
    std::error_code code;
    if (!std::filesystem::is_regular_file(folder / mark, code)) return "";
    try {
        FilesRead files(folder);
        const auto text = read_json(folder / mark, files);
        return text.is_object() ? text.value("inputs", std::string()) : "";
    } catch (const Error&) {
        return "";
    } catch (const nlohmann::json::exception&) {
        return "";
    }
}

/// What LoRA adds to a weight: factor B A, as the program has it.
struct LoraProduct {
    ParameterId A, B;
    double factor;
};

/// By the weight that is changed.
std::map<ParameterId, LoraProduct> lora_products(const Program& program) {
    const std::vector<Parameter>& parameters = program.parameters();
    const auto by_name = [&](const std::string& name) {
        for (ParameterId p = 0; p < parameters.size(); ++p)
            if (parameters[p].name == name) return p;
        return parameters.size();
    };
    std::map<std::size_t, ParameterId> made_by;  // of a value, the factor B that it is the product with
    std::map<ParameterId, LoraProduct> products;
    for (const Operation& operation : program.operations()) {
        if (const auto* const linear = std::get_if<operation::Linear>(&operation);
            linear != nullptr && is_lora_b(parameters[linear->weight]))
            made_by[linear->out.id] = linear->weight;
        const auto* const add = std::get_if<operation::Add>(&operation);
        if (add == nullptr || !made_by.contains(add->b.id)) continue;
        const ParameterId B = made_by[add->b.id];
        const std::string module = parameters[B].name.substr(0, parameters[B].name.rfind(".lora_"));
        products[by_name(module + ".weight")] = {by_name(module + ".lora_A.weight"), B, add->factor};
    }
    return products;
}

/// A parameter's values now, in the order of its shape; a copy that does not stay.
template <class Real>
std::vector<Real> values_of(const Network<Real>& network, ParameterId p) {
    const Parameter& parameter = network.program().parameters()[p];
    const StoredMatrix& matrix = network.matrix(p);
    const Index d_in = parameter.shape.back();
    std::vector<Real> values(static_cast<std::size_t>(parameter.size()));
    with_entries<Real>(matrix.type, [&](auto entry) {
        for (Index i = 0; i < std::ssize(values); ++i)
            values[static_cast<std::size_t>(i)] = entry(matrix.at(i / d_in, i % d_in), 0);
    });
    return values;
}

/// A parameter's values as a file holds them: products added, turned where it is stored so.
template <class Real>
std::vector<std::byte> stored_bytes(const Network<Real>& network, ParameterId p,
                                    const std::map<ParameterId, LoraProduct>& products) {
    const Parameter& parameter = network.program().parameters()[p];
    std::vector<Real> values = values_of(network, p);
    if (const auto found = products.find(p); found != products.end()) {
        const std::vector<Real> A = values_of(network, found->second.A),
                                B = values_of(network, found->second.B);
        const auto d_in = static_cast<std::size_t>(parameter.shape[1]), rank = A.size() / d_in;
        for (std::size_t i = 0; i < values.size(); ++i) {
            double sum = 0;
            for (std::size_t k = 0; k < rank; ++k)
                sum +=
                    static_cast<double>(B[i / d_in * rank + k]) * static_cast<double>(A[k * d_in + i % d_in]);
            values[i] = static_cast<Real>(static_cast<double>(values[i]) + found->second.factor * sum);
        }
    }
    if (parameter.transposed) {
        const auto rows = static_cast<std::size_t>(parameter.shape[0]),
                   columns = static_cast<std::size_t>(parameter.shape[1]);
        std::vector<Real> turned(values.size());
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t j = 0; j < columns; ++j) turned[j * rows + i] = values[i * columns + j];
        values.swap(turned);
    }
    const auto bytes = std::as_bytes(std::span(values));
    return {bytes.begin(), bytes.end()};
}

template <class Real>
std::vector<WrittenTensor> tensors_of(const LoadedModel& model, const Network<Real>& network) {
    const Program& program = network.program();
    const std::map<ParameterId, LoraProduct> products = lora_products(program);
    std::vector<WrittenTensor> tensors;
    std::map<const TensorView*, ParameterId> stored;  // tensors of the file that the network has
    const auto find = [&](const std::string& name) {
        return model.weights ? find_tensor(*model.weights, name) : nullptr;
    };
    const auto add = [&](const std::string& name, ParameterId p) {
        std::vector<Index> shape = program.parameters()[p].shape;
        if (program.parameters()[p].transposed) std::reverse(shape.begin(), shape.end());
        tensors.push_back({name, sizeof(Real) == 4 ? DType::F32 : DType::F64, shape,
                           [&network, p, products] { return stored_bytes(network, p, products); }});
    };
    for (ParameterId p = 0; p < program.parameters().size(); ++p) {
        const Parameter& parameter = program.parameters()[p];
        if (is_lora(parameter)) continue;
        const TensorView* const tensor = find(parameter.name);
        if (tensor != nullptr) stored[tensor] = p;
        add(tensor != nullptr ? tensor->name : parameter.name, p);
    }
    for (const auto& [name, p] : program.copies())
        if (const TensorView* const tensor = find(name); tensor != nullptr && !stored.contains(tensor)) {
            stored[tensor] = p;
            add(tensor->name, p);
        }
    if (model.weights)
        for (const TensorView& tensor : model.weights->tensors())
            if (!stored.contains(&tensor))
                tensors.push_back(
                    {tensor.name, tensor.dtype, tensor.shape,
                     [&tensor] { return std::vector<std::byte>(tensor.bytes.begin(), tensor.bytes.end()); }});
    return tensors;
}

std::string bytes_of(const std::filesystem::path& file) {
    FilesRead copied_alone;
    return read_text(file, copied_alone);
}

/// The class of a new head that is read at the last token, of the model's own: without "LMHeadModel",
/// "ForCausalLM" or "Model".
std::string classifier_class(std::string name) {
    for (const char* const end : {"For", "LMHead", "Model"})
        if (const auto at = name.rfind(end); at != std::string::npos && at > 0) {
            name = name.substr(0, at);
            break;
        }
    return name + "ForSequenceClassification";
}

/// The model's config.json with the type that the weights have now, and of a new classifier what its class
/// (unless it is read at the first token: transformers' have a layer more there) and labels are.
std::string config_of(const std::filesystem::path& file, const char* type, const NewLabels& labels,
                      Reading reading) {
    const std::string text = bytes_of(file);
    auto config = nlohmann::ordered_json::parse(text, nullptr, false);
    if (!config.is_object()) return text;  // Python's own numbers: NaN
    bool changed = false;
    for (const char* key : {"torch_dtype", "dtype"})
        if (config.contains(key) && config[key] != type) {
            config[key] = type;
            changed = true;
        }
    if (!labels.empty()) {
        if (reading == Reading::last_token && config.contains("architectures") &&
            config["architectures"].is_array() && !config["architectures"].empty() &&
            config["architectures"].front().is_string())
            config["architectures"] = {classifier_class(config["architectures"].front().get<std::string>())};
        config["problem_type"] = "single_label_classification";
        config["id2label"] = nlohmann::ordered_json::object();
        config["label2id"] = nlohmann::ordered_json::object();
        for (std::size_t label = 0; label < labels.size(); ++label) {
            config["id2label"][std::to_string(label)] = labels[label];
            config["label2id"][labels[label]] = label;
        }
        changed = true;
    }
    return changed ? config.dump(2) + "\n" : text;
}

/// What a model's folder may hold of a tokenizer and of how text is generated.
constexpr const char* copied[] = {"generation_config.json",
                                  "tokenizer.json",
                                  "tokenizer_config.json",
                                  "special_tokens_map.json",
                                  "added_tokens.json",
                                  "vocab.txt",
                                  "vocab.json",
                                  "merges.txt",
                                  "tokenizer.model",
                                  "spiece.model",
                                  "chat_template.jinja"};

/// Removes a folder, where it is still there.
struct RemovedOnFailure {
    explicit RemovedOnFailure(std::filesystem::path at) : folder(std::move(at)) {}
    RemovedOnFailure(const RemovedOnFailure&) = delete;
    RemovedOnFailure& operator=(const RemovedOnFailure&) = delete;
    ~RemovedOnFailure() {
        std::error_code code;
        std::filesystem::remove_all(folder, code);
    }
    std::filesystem::path folder;
};

void sync_folder(const std::filesystem::path& folder) {
    const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    ::fsync(descriptor);  // where a file system cannot, the files are still synced
    ::close(descriptor);
}

}  // namespace

std::filesystem::path trained_folder(const std::filesystem::path& output, const std::string& task) {
    std::filesystem::path folder = output;
    if (folder.extension() == ".h5" || folder.extension() == ".hdf5") folder.replace_extension();
    folder += (task.empty() ? "" : "-" + task) + "-weights";
    return folder;
}

void check_trained_folder(const std::filesystem::path& folder) {
    if (inputs_of(folder).empty()) check_trained_folder(folder, "no training's");
}

void check_trained_folder(const std::filesystem::path& folder, const std::string& inputs) {
    std::error_code code;
    if (!std::filesystem::exists(std::filesystem::symlink_status(folder, code)) ||
        inputs_of(folder) == inputs)
        return;
    throw Error(ExitStatus::output, ErrorKind::contradiction,
                fmt::format("{}: exists; the trained weights are written there: move it away, or change "
                            "output.path",
                            folder.string()));
}

template <class Real>
void write_trained_folder(const std::filesystem::path& folder, const LoadedModel& model,
                          const NewLabels& labels, const Network<Real>& network, const std::string& inputs) {
    namespace fs = std::filesystem;
    check_trained_folder(folder, inputs);
    const fs::path partial = folder.string() + ".partial", from = model.files.folder();
    const auto check = [&](const std::error_code& code, const fs::path& at) {
        if (code)
            throw Error(ExitStatus::output, ErrorKind::no_access,
                        fmt::format("{}: cannot be written ({})", at.string(), code.message()));
    };
    std::error_code code;
    fs::remove_all(partial, code);
    check(code, partial);
    fs::create_directory(partial, code);
    check(code, partial);
    const RemovedOnFailure guard(partial);
    write_safetensors(partial / "model.safetensors", tensors_of(model, network));
    write_synced(partial / "config.json",
                 config_of(from / "config.json", sizeof(Real) == 4 ? "float32" : "float64", labels,
                           network.program().reading));
    for (const char* const name : copied)
        if (fs::is_regular_file(from / name, code)) write_synced(partial / name, bytes_of(from / name));
    write_synced(partial / mark, nlohmann::ordered_json{{"inputs", inputs}}.dump() + "\n");
    sync_folder(partial);
    fs::remove_all(folder, code);
    check(code, folder);
    fs::rename(partial, folder, code);
    check(code, folder);
    sync_folder(folder.parent_path());
}

template void write_trained_folder(const std::filesystem::path&, const LoadedModel&, const NewLabels&,
                                   const Network<float>&, const std::string&);
template void write_trained_folder(const std::filesystem::path&, const LoadedModel&, const NewLabels&,
                                   const Network<double>&, const std::string&);

}  // namespace tangram

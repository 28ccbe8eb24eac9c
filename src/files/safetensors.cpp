#include "tangram/files/safetensors.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "tangram/error.hpp"
#include "tangram/files/json.hpp"
#include "tangram/files/nearest.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse(ErrorKind kind, const std::filesystem::path& file, const std::string& problem) {
    throw Error(ExitStatus::input, kind, fmt::format("{}: {}", file.string(), problem));
}

template <class T>
T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

/// Position of the first entry that is not finite in a precision, or -1.
template <class Real>
Index first_not_finite(const TensorView& tensor) {
    Index found = -1;
    with_entries<Real>(tensor.dtype, [&](auto entry) {
        const std::byte* const from = tensor.bytes.data();
        const Index size = tensor.size();
        // A run at a time, without a branch for each entry.
        constexpr Index run = 4096;
        for (Index first = 0; first < size && found < 0; first += run) {
            const Index last = std::min(first + run, size);
            bool finite = true;
            for (Index i = first; i < last; ++i)
                finite &= std::abs(entry(from, i)) <= std::numeric_limits<Real>::max();
            if (finite) continue;
            found = first;  // should somebody have changed it since
            for (Index i = first; i < last; ++i)
                if (!std::isfinite(entry(from, i))) {
                    found = i;
                    break;
                }
        }
    });
    return found;
}

struct DTypeName {
    std::string_view name;
    std::uint64_t bytes;
    std::optional<DType> dtype;  // none: integers
};
constexpr DTypeName dtype_names[] = {{"F64", 8, DType::F64},   {"F32", 4, DType::F32}, {"F16", 2, DType::F16},
                                     {"BF16", 2, DType::BF16}, {"I64", 8, {}},         {"U64", 8, {}},
                                     {"I32", 4, {}},           {"U32", 4, {}},         {"I16", 2, {}},
                                     {"U16", 2, {}},           {"I8", 1, {}},          {"U8", 1, {}},
                                     {"BOOL", 1, {}}};

constexpr const char* instead_of_quantised =
    "quantised weights are not read, give the folder of the model that they were made from";

/// What git leaves in place of a large file that it has not fetched.
constexpr std::string_view pointer_start = "version https://git-lfs";

/// Where a tensor stands behind the header.
struct Piece {
    std::uint64_t first, last;
    std::string name;
};

/// The JSON between a file's first eight bytes and its tensors.
/// @param size  out: bytes of the header
nlohmann::json read_header(const std::filesystem::path& file, std::span<const std::byte> bytes,
                           std::uint64_t& size) {
    if (bytes.size() >= pointer_start.size() &&
        std::memcmp(bytes.data(), pointer_start.data(), pointer_start.size()) == 0)
        refuse(ErrorKind::malformed, file,
               "is git's pointer to the weights and not the weights; run `git lfs pull` in its folder");
    size = load<std::uint64_t>(bytes.data());
    if (size > bytes.size() - 8)
        refuse(ErrorKind::malformed, file,
               fmt::format(
                   "the header claims {} bytes, the file has {}; it is truncated or no safetensors file, "
                   "fetch it again",
                   size, bytes.size()));
    constexpr std::uint64_t longest_header = 100'000'000;  // as Hugging Face's own reader
    if (size > longest_header)
        refuse(ErrorKind::malformed, file,
               fmt::format("the header has {} bytes, more than the {} that safetensors allows", size,
                           longest_header));
    nlohmann::json header = parse_json({reinterpret_cast<const char*>(bytes.data()) + 8, size},
                                       file.string() + " (header)", DuplicateKeys::refused);
    if (!header.is_object()) refuse(ErrorKind::malformed, file, "the header is not a JSON object");
    return header;
}

/// What the header says of one tensor.
struct Entry {
    Piece piece;
    std::optional<DType> dtype;  ///< none: integers
    std::vector<Index> shape;
};

Entry read_entry(const std::filesystem::path& file, const std::string& name, const nlohmann::json& value) {
    const auto bad = [&](ErrorKind kind, const std::string& problem) {
        refuse(kind, file, fmt::format("tensor {}: {}", name, problem));
    };
    if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string())
        bad(ErrorKind::missing, "has no dtype");
    if (!value.contains("shape") || !value["shape"].is_array()) bad(ErrorKind::missing, "has no shape");
    if (!value.contains("data_offsets") || !value["data_offsets"].is_array() ||
        value["data_offsets"].size() != 2 || !value["data_offsets"][0].is_number_unsigned() ||
        !value["data_offsets"][1].is_number_unsigned())
        bad(ErrorKind::malformed, "data_offsets must be two non-negative integers");
    const auto first = value["data_offsets"][0].get<std::uint64_t>();
    const auto last = value["data_offsets"][1].get<std::uint64_t>();
    if (first > last) bad(ErrorKind::malformed, "data_offsets are not in order");

    const auto dtype_name = value["dtype"].get<std::string>();
    const auto* const dtype = std::find_if(std::begin(dtype_names), std::end(dtype_names),
                                           [&](const DTypeName& known) { return known.name == dtype_name; });
    if (dtype == std::end(dtype_names))
        bad(ErrorKind::unsupported,
            fmt::format("dtype {} is not supported, weights must be F32, F16, BF16 or F64; {}", dtype_name,
                        instead_of_quantised));
    Entry entry{{first, last, name}, dtype->dtype, {}};
    std::uint64_t size = dtype->bytes;
    for (const auto& extent : value["shape"]) {
        if (!extent.is_number_unsigned()) bad(ErrorKind::malformed, "shape must hold non-negative integers");
        const auto e = extent.get<std::uint64_t>();
        if (e > static_cast<std::uint64_t>(std::numeric_limits<Index>::max()) ||
            (e != 0 && size > std::numeric_limits<std::uint64_t>::max() / e))
            bad(ErrorKind::out_of_range, "the product of its shape does not fit into 64 bits");
        size *= e;
        entry.shape.push_back(static_cast<Index>(e));
    }
    if (size != last - first)
        bad(ErrorKind::contradiction,
            fmt::format("shape and dtype ask for {} bytes, data_offsets give {}", size, last - first));
    return entry;
}

/// Refuses tensors that overlap, leave gaps or do not end where the file does.
void check_pieces(const std::filesystem::path& file, std::vector<Piece> pieces, std::uint64_t data_size) {
    std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
        return std::pair(a.first, a.last) < std::pair(b.first, b.last);
    });
    std::uint64_t end = 0;
    for (const Piece& piece : pieces) {
        if (piece.first < end)
            refuse(ErrorKind::malformed, file, fmt::format("tensor {} overlaps another", piece.name));
        if (piece.first > end)
            refuse(
                ErrorKind::malformed, file,
                fmt::format("{} bytes before tensor {} belong to no tensor", piece.first - end, piece.name));
        end = piece.last;
    }
    if (end > data_size)
        refuse(ErrorKind::malformed, file,
               fmt::format("is truncated: {} bytes are missing (tensor {} ends there); download it again",
                           end - data_size, pieces.back().name));
    if (end != data_size)
        refuse(ErrorKind::malformed, file,
               fmt::format("{} bytes at the end belong to no tensor", data_size - end));
}

}  // namespace

Index TensorView::size() const {
    Index product = 1;
    for (const Index extent : shape) product *= extent;
    return product;
}

Weights::~Weights() = default;
Weights::Weights(Weights&&) noexcept = default;

Weights::Weights(const std::filesystem::path& folder_or_file, FilesRead& files)
    : maps_(std::make_shared<std::vector<MappedFile>>()) {
    std::error_code code;
    if (!std::filesystem::is_directory(folder_or_file, code)) {
        open(folder_or_file, files);
    } else if (std::filesystem::exists(folder_or_file / "model.safetensors", code)) {
        open(folder_or_file / "model.safetensors", files);
    } else if (const auto index = folder_or_file / "model.safetensors.index.json";
               std::filesystem::exists(index, code)) {
        const nlohmann::json json = read_json(index, files);
        if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
            refuse(ErrorKind::malformed, index, "has no weight_map; fetch the model again");
        std::map<std::string, std::vector<std::string>> shards;  // with the tensors that they should hold
        for (const auto& [tensor, shard] : json["weight_map"].items()) {
            if (!shard.is_string())
                refuse(ErrorKind::malformed, index,
                       fmt::format("weight_map of {} is not a file name", tensor));
            shards[shard.get<std::string>()].push_back(tensor);
        }
        for (const auto& [shard, promised] : shards) {
            // A name without a folder cannot leave the model's.
            if (std::filesystem::path(shard).filename() != shard || shard == "." || shard == "..")
                refuse(ErrorKind::unsupported, index,
                       fmt::format("shard \"{}\" lies outside the folder; shards stand beside the index",
                                   shard));
            if (!std::filesystem::exists(folder_or_file / shard, code))
                refuse(ErrorKind::missing, index,
                       fmt::format("names the shard {}, which is not in the folder (with {} of its tensors); "
                                   "fetch the model again",
                                   shard, promised.front()));
            const std::size_t known = tensors_.size(), known_integers = integers_.size();
            open(folder_or_file / shard, files);
            std::set<std::string_view> held(integers_.begin() + static_cast<Index>(known_integers),
                                            integers_.end());
            for (std::size_t t = known; t < tensors_.size(); ++t) held.insert(tensors_[t].name);
            for (const std::string& tensor : promised)
                if (!held.contains(tensor))
                    refuse(ErrorKind::missing, folder_or_file / shard,
                           fmt::format("holds no tensor {}, which {} says it does; fetch the "
                                       "model again",
                                       tensor, index.filename().string()));
        }
        if (shards.empty()) refuse(ErrorKind::degenerate, index, "names no shard");
    } else if (std::filesystem::exists(folder_or_file / "pytorch_model.bin", code) ||
               std::filesystem::exists(folder_or_file / "pytorch_model.bin.index.json", code)) {
        refuse(ErrorKind::unsupported, folder_or_file,
               fmt::format(
                   "holds pytorch_model.bin, which can hide a program, and no model.safetensors; convert "
                   "it: python3 -c \"from transformers import AutoModelForCausalLM as Model; "
                   "Model.from_pretrained('{0}').save_pretrained('{0}')\" (AutoModelForMaskedLM for masked "
                   "models)",
                   folder_or_file.string()));
    } else {
        refuse(ErrorKind::missing, folder_or_file,
               "holds neither model.safetensors nor model.safetensors.index.json; give a Hugging Face "
               "folder with safetensors weights");
    }
    sort("in two shards");
}

void Weights::rename(const std::function<std::string(const std::string&)>& name_of) {
    for (TensorView& tensor : tensors_) tensor.name = name_of(tensor.name);
    for (std::string& name : integers_) name = name_of(name);
    sort("there twice, under names that differ in what a wrapper put there; remove one");
}

void Weights::sort(const char* why_twice) {
    std::sort(tensors_.begin(), tensors_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    for (std::size_t i = 1; i < tensors_.size(); ++i)
        if (tensors_[i].name == tensors_[i - 1].name)
            refuse(ErrorKind::contradiction, files_[tensors_[i].file],
                   fmt::format("tensor {} stands {}", tensors_[i].name, why_twice));
}

void Weights::open(const std::filesystem::path& file, FilesRead& files) {
    const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        refuse(ErrorKind::no_access, file,
               fmt::format("cannot be opened ({}); check the path", std::strerror(errno)));
    struct stat status {};
    const bool regular = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    const auto file_size = static_cast<std::uint64_t>(std::max<off_t>(0, status.st_size));
    if (regular && file_size >= 8) {
        maps_->emplace_back(file, descriptor, file_size);
        files.add_mapped(file, state_of(status), descriptor);
    }
    ::close(descriptor);
    if (!regular) refuse(ErrorKind::malformed, file, "is not a file");
    if (file_size < 8)
        refuse(ErrorKind::malformed, file,
               fmt::format("is truncated: {} bytes, not even a header; fetch it again", file_size));
    const std::byte* const bytes = maps_->back().bytes();
    if (bytes == nullptr)
        throw Error(ExitStatus::study, ErrorKind::no_memory,
                    fmt::format("{}: out of memory: no addresses are left to map it; raise the limit "
                                "(ulimit -v) or give the job more memory",
                                file.string()));
    files_.push_back(file);

    std::uint64_t header_size = 0;
    const nlohmann::json header = read_header(file, {bytes, file_size}, header_size);
    const std::uint64_t data_size = file_size - 8 - header_size;
    std::vector<Piece> pieces;
    for (const auto& [name, value] : header.items()) {
        if (name == "__metadata__") continue;
        Entry entry = read_entry(file, name, value);
        const auto [first, last] = std::pair(entry.piece.first, entry.piece.last);
        pieces.push_back(std::move(entry.piece));
        if (!entry.dtype) {
            integers_.push_back(name);
        } else if (last <= data_size) {  // else refused below
            const std::span<const std::byte> data{bytes + 8 + header_size + first, last - first};
            tensors_.push_back({name, *entry.dtype, std::move(entry.shape), data, files_.size() - 1});
        }
    }
    check_pieces(file, std::move(pieces), data_size);
}

const TensorView* Weights::find(std::string_view name) const {
    const auto found =
        std::lower_bound(tensors_.begin(), tensors_.end(), name,
                         [](const TensorView& tensor, std::string_view key) { return tensor.name < key; });
    return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

const TensorView& Weights::at(std::string_view name) const {
    if (const TensorView* const tensor = find(name)) return *tensor;
    if (std::find(integers_.begin(), integers_.end(), name) != integers_.end())
        refuse(ErrorKind::unsupported, files_.front(),
               fmt::format("tensor {} holds integers, weights must be F32, F16, BF16 or F64; {}", name,
                           instead_of_quantised));
    std::vector<std::string> names;
    for (const TensorView& tensor : tensors_) names.push_back(tensor.name);
    refuse(ErrorKind::missing, files_.front(),
           fmt::format("has no tensor {}; nearest is {}", name, nearest(name, names)));
}

template <class Real>
void Weights::check_finite(const TensorView& tensor) const {
    const Index bad = first_not_finite<Real>(tensor);
    if (bad >= 0) refuse_entry(tensor, bad, sizeof(Real));
}

template void Weights::check_finite<float>(const TensorView&) const;
template void Weights::check_finite<double>(const TensorView&) const;

template <class Real>
void Weights::read(const TensorView& tensor, std::span<Real> values) const {
    assert(std::ssize(values) == tensor.size());
    check_finite<Real>(tensor);
    with_entries<Real>(tensor.dtype, [&](auto entry) {
        for (std::size_t i = 0; i < values.size(); ++i)
            values[i] = entry(tensor.bytes.data(), static_cast<Index>(i));
    });
}

void Weights::refuse_entry(const TensorView& tensor, Index entry, std::size_t precision) const {
    refuse(
        ErrorKind::non_finite, files_[tensor.file],
        fmt::format("tensor {}: entry {} is not a finite number{}; the checkpoint is damaged or its training "
                    "diverged",
                    tensor.name, entry, tensor.dtype == DType::F64 && precision == 4 ? " in float32" : ""));
}

template <class Real>
std::vector<Real> Weights::read(const TensorView& tensor) const {
    std::vector<Real> values(static_cast<std::size_t>(tensor.size()));
    read(tensor, std::span<Real>(values));
    return values;
}

template std::vector<float> Weights::read<float>(const TensorView&) const;
template std::vector<double> Weights::read<double>(const TensorView&) const;
template void Weights::read<float>(const TensorView&, std::span<float>) const;
template void Weights::read<double>(const TensorView&, std::span<double>) const;

}  // namespace tangram

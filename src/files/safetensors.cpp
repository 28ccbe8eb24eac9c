#include "tangram/files/safetensors.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "tangram/error.hpp"
#include "tangram/files/json.hpp"

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian and read in place");

namespace tangram {

namespace {

[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& problem) {
    throw Error(ExitStatus::input, fmt::format("{}: {}", file.string(), problem));
}

Index bytes_of(DType dtype) {
    switch (dtype) {
        case DType::F64:
            return 8;
        case DType::F32:
            return 4;
        case DType::F16:
        case DType::BF16:
            return 2;
    }
    return 0;
}

/// IEEE binary16 to binary32, exact.
float from_half(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
    const std::uint32_t exponent = (half >> 10) & 0x1FU, fraction = half & 0x3FFU;
    if (exponent == 0) {  // zero and subnormals: fraction * 2^-24
        const float value = std::ldexp(static_cast<float>(fraction), -24);
        return sign != 0 ? -value : value;
    }
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000U | (fraction << 13));
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

template <class T>
T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

double entry(const TensorView& tensor, Index i) {
    const std::byte* const from = tensor.bytes.data() + i * bytes_of(tensor.dtype);
    switch (tensor.dtype) {
        case DType::F64:
            return load<double>(from);
        case DType::F32:
            return static_cast<double>(load<float>(from));
        case DType::F16:
            return static_cast<double>(from_half(load<std::uint16_t>(from)));
        case DType::BF16:
            return static_cast<double>(
                std::bit_cast<float>(static_cast<std::uint32_t>(load<std::uint16_t>(from)) << 16));
    }
    return 0;
}

}  // namespace

struct Weights::Map {
    void* address = nullptr;
    std::size_t size = 0;

    Map(void* a, std::size_t s) : address(a), size(s) {}
    Map(Map&& other) noexcept : address(std::exchange(other.address, nullptr)), size(other.size) {}
    Map& operator=(Map&&) = delete;
    ~Map() {
        if (address != nullptr) munmap(address, size);
    }
};

Index TensorView::size() const {
    Index product = 1;
    for (const Index extent : shape) product *= extent;
    return product;
}

Weights::~Weights() = default;
Weights::Weights(Weights&&) noexcept = default;

Weights::Weights(const std::filesystem::path& folder_or_file) {
    std::error_code code;
    if (!std::filesystem::is_directory(folder_or_file, code)) {
        open(folder_or_file);
    } else if (std::filesystem::exists(folder_or_file / "model.safetensors", code)) {
        open(folder_or_file / "model.safetensors");
    } else if (const auto index = folder_or_file / "model.safetensors.index.json"; std::filesystem::exists(index, code)) {
        const nlohmann::json json = read_json(index);
        if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
            refuse(index, "has no weight_map; fetch the model again");
        std::set<std::string> shards;
        for (const auto& [tensor, shard] : json["weight_map"].items()) {
            if (!shard.is_string()) refuse(index, fmt::format("weight_map of {} is not a file name", tensor));
            shards.insert(shard.get<std::string>());
        }
        for (const std::string& shard : shards) {
            // A name without a folder cannot leave the model's.
            if (std::filesystem::path(shard).filename() != shard || shard == "." || shard == "..")
                refuse(index, fmt::format("shard \"{}\" lies outside the folder; shards stand beside the index", shard));
            open(folder_or_file / shard);
        }
        if (shards.empty()) refuse(index, "names no shard");
    } else {
        refuse(folder_or_file, "holds neither model.safetensors nor model.safetensors.index.json; give a Hugging Face "
                               "folder with safetensors weights");
    }
    std::sort(tensors_.begin(), tensors_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    for (std::size_t i = 1; i < tensors_.size(); ++i)
        if (tensors_[i].name == tensors_[i - 1].name)
            refuse(files_[tensors_[i].file], fmt::format("tensor {} stands in two shards", tensors_[i].name));
}

void Weights::open(const std::filesystem::path& file) {
    const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) refuse(file, fmt::format("cannot be opened ({}); check the path", std::strerror(errno)));
    struct stat status {};
    const bool regular = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    const auto file_size = static_cast<std::uint64_t>(std::max<off_t>(0, status.st_size));
    void* address = MAP_FAILED;
    if (regular && file_size >= 8) address = mmap(nullptr, file_size, PROT_READ, MAP_SHARED, descriptor, 0);
    ::close(descriptor);
    if (!regular) refuse(file, "is not a file");
    if (file_size < 8) refuse(file, fmt::format("is truncated: {} bytes, not even a header; fetch it again", file_size));
    if (address == MAP_FAILED) refuse(file, "cannot be mapped into memory");
    maps_.emplace_back(address, file_size);
    files_.push_back(file);
    const auto* const bytes = static_cast<const std::byte*>(address);

    const auto header_size = load<std::uint64_t>(bytes);
    if (header_size > file_size - 8)
        refuse(file, fmt::format("the header claims {} bytes, the file has {}; it is truncated or no safetensors file, "
                                 "fetch it again",
                                 header_size, file_size));
    const nlohmann::json header =
        parse_json({reinterpret_cast<const char*>(bytes) + 8, header_size}, file.string() + " (header)");
    if (!header.is_object()) refuse(file, "the header is not a JSON object");

    const std::uint64_t data_size = file_size - 8 - header_size;
    struct Piece {
        std::uint64_t first, last;
        std::string name;
    };
    std::vector<Piece> pieces;
    for (const auto& [name, value] : header.items()) {
        if (name == "__metadata__") continue;
        const auto bad = [&, n = name](const std::string& problem) { refuse(file, fmt::format("tensor {}: {}", n, problem)); };
        if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string()) bad("has no dtype");
        if (!value.contains("shape") || !value["shape"].is_array()) bad("has no shape");
        if (!value.contains("data_offsets") || !value["data_offsets"].is_array() || value["data_offsets"].size() != 2 ||
            !value["data_offsets"][0].is_number_unsigned() || !value["data_offsets"][1].is_number_unsigned())
            bad("data_offsets must be two non-negative integers");
        const auto first = value["data_offsets"][0].get<std::uint64_t>();
        const auto last = value["data_offsets"][1].get<std::uint64_t>();
        if (first > last) bad("data_offsets are not in order");
        if (last > data_size)
            bad(fmt::format("its bytes end {} behind the end of the file; the file is truncated, fetch it again",
                            last - data_size));
        pieces.push_back({first, last, name});

        const auto dtype_name = value["dtype"].get<std::string>();
        static constexpr std::pair<std::string_view, DType> dtypes[] = {
            {"F64", DType::F64}, {"F32", DType::F32}, {"F16", DType::F16}, {"BF16", DType::BF16}};
        const auto* const dtype = std::find_if(std::begin(dtypes), std::end(dtypes),
                                               [&](const auto& known) { return known.first == dtype_name; });
        if (dtype == std::end(dtypes)) {
            static constexpr std::string_view integers[] = {"I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL"};
            if (std::find(std::begin(integers), std::end(integers), dtype_name) == std::end(integers))
                bad(fmt::format("dtype {} is not supported; convert the weights to F32, F16, BF16 or F64", dtype_name));
            continue;
        }
        TensorView tensor{name, dtype->second, {}, {bytes + 8 + header_size + first, last - first}, files_.size() - 1};
        std::uint64_t size = static_cast<std::uint64_t>(bytes_of(dtype->second));
        for (const auto& extent : value["shape"]) {
            if (!extent.is_number_unsigned()) bad("shape must hold non-negative integers");
            const auto e = extent.get<std::uint64_t>();
            if (e > static_cast<std::uint64_t>(std::numeric_limits<Index>::max()) ||
                (e != 0 && size > std::numeric_limits<std::uint64_t>::max() / e))
                bad("the product of its shape does not fit into 64 bits");
            size *= e;
            tensor.shape.push_back(static_cast<Index>(e));
        }
        if (size != last - first)
            bad(fmt::format("shape and dtype ask for {} bytes, data_offsets give {}", size, last - first));
        tensors_.push_back(std::move(tensor));
    }
    std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
        return std::pair(a.first, a.last) < std::pair(b.first, b.last);
    });
    std::uint64_t end = 0;
    for (const Piece& piece : pieces) {
        if (piece.first < end) refuse(file, fmt::format("tensor {} overlaps another", piece.name));
        if (piece.first > end)
            refuse(file, fmt::format("{} bytes before tensor {} belong to no tensor", piece.first - end, piece.name));
        end = piece.last;
    }
    if (end != data_size) refuse(file, fmt::format("{} bytes at the end belong to no tensor", data_size - end));
}

const TensorView* Weights::find(std::string_view name) const {
    const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                        [](const TensorView& tensor, std::string_view key) { return tensor.name < key; });
    return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

template <class Real>
std::vector<Real> Weights::read(const TensorView& tensor) const {
    std::vector<Real> values(static_cast<std::size_t>(tensor.size()));
    for (Index i = 0; i < tensor.size(); ++i) {
        const auto value = static_cast<Real>(entry(tensor, i));
        if (!std::isfinite(value))
            refuse(files_[tensor.file],
                   fmt::format("tensor {}: entry {} is not a finite number{}; the checkpoint is damaged or its training "
                               "diverged",
                               tensor.name, i, tensor.dtype == DType::F64 && sizeof(Real) == 4 ? " in float32" : ""));
        values[static_cast<std::size_t>(i)] = value;
    }
    return values;
}

template std::vector<float> Weights::read<float>(const TensorView&) const;
template std::vector<double> Weights::read<double>(const TensorView&) const;

}  // namespace tangram

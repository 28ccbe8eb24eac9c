#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/unrecorded.hpp"
#include "tangram/files/safetensors.hpp"

namespace tangram::testing {

/// A tensor to be written: numbers, or I64 zeros where it has no values.
struct StoredTensor {
    std::string name;
    std::vector<Index> shape;
    std::vector<float> values = {};
};

/// Every floating-point tensor of a folder or file.
inline std::vector<StoredTensor> stored_tensors(const std::filesystem::path& folder_or_file) {
    const Weights weights(folder_or_file, Unrecorded());
    std::vector<StoredTensor> all;
    for (const TensorView& tensor : weights.tensors())
        all.push_back({tensor.name, tensor.shape, weights.read<float>(tensor)});
    return all;
}

/// A number that every type holds: rounded towards zero to eight binary digits, zero below 2^-14.
inline float in_every_type(float value) {
    const float cut = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0xFFFF0000U);
    return std::abs(cut) < 0x1p-14F ? 0.0F : cut;
}

/// The bytes of a number as a type stores it; in F16 and BF16 one that is in_every_type(), below 65504.
inline std::string stored_bytes(float value, DType type) {
    const auto bytes_of = [](auto number) {
        return std::string(reinterpret_cast<char*>(&number), sizeof number);
    };
    const auto bits = std::bit_cast<std::uint32_t>(value);
    switch (type) {
        case DType::F64:
            return bytes_of(static_cast<double>(value));
        case DType::F32:
            return bytes_of(value);
        case DType::BF16:
            return bytes_of(static_cast<std::uint16_t>(bits >> 16));
        case DType::F16:
            break;
    }
    const std::uint32_t exponent = (bits >> 23) & 0xFFU, sign = (bits >> 16) & 0x8000U;
    return bytes_of(static_cast<std::uint16_t>(
        value == 0 ? sign : sign | ((exponent - 112) << 10) | ((bits & 0x7FFFFFU) >> 13)));
}

inline void write_safetensors(const std::filesystem::path& file, const std::vector<StoredTensor>& tensors,
                              DType type = DType::F32) {
    const char* const names[] = {"F64", "F32", "F16", "BF16"};
    nlohmann::json header = nlohmann::json::object();
    std::string data;
    for (const StoredTensor& tensor : tensors) {
        Index size = 1;
        for (const Index extent : tensor.shape) size *= extent;
        const std::size_t first = data.size();
        if (tensor.values.empty())
            data += std::string(static_cast<std::size_t>(size) * sizeof(std::int64_t), '\0');
        else
            for (const float value : tensor.values) data += stored_bytes(value, type);
        header[tensor.name] = {{"dtype", tensor.values.empty() ? "I64" : names[static_cast<int>(type)]},
                               {"shape", tensor.shape},
                               {"data_offsets", {first, data.size()}}};
    }
    std::string text = header.dump();
    text += std::string((8 - text.size() % 8) % 8, ' ');
    const std::uint64_t length = text.size();
    std::ofstream out(file, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&length), sizeof length) << text << data;
}

}  // namespace tangram::testing

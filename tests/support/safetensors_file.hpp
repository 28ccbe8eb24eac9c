#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/unrecorded.hpp"
#include "tangram/files/safetensors.hpp"

namespace tangram::testing {

/// A tensor to be written: F32, or I64 zeros where it has no values.
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

inline void write_safetensors(const std::filesystem::path& file, const std::vector<StoredTensor>& tensors) {
    nlohmann::json header = nlohmann::json::object();
    std::string data;
    for (const StoredTensor& tensor : tensors) {
        Index size = 1;
        for (const Index extent : tensor.shape) size *= extent;
        const std::size_t first = data.size();
        if (tensor.values.empty())
            data += std::string(static_cast<std::size_t>(size) * sizeof(std::int64_t), '\0');
        else
            data.append(reinterpret_cast<const char*>(tensor.values.data()),
                        tensor.values.size() * sizeof(float));
        header[tensor.name] = {{"dtype", tensor.values.empty() ? "I64" : "F32"},
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

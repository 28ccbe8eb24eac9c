#include "input_file.hpp"
#include "tangram/files/safetensors.hpp"

using namespace tangram;

/// Beside the index stand two shards; a finding is a tensor from anywhere else.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const bool shards = [] {
        for (const char* name : {"a", "b"}) {
            const std::string header =
                std::string("{\"") + name + R"(":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
            std::string bytes(8, '\0');
            bytes[0] = static_cast<char>(header.size());
            fuzz::file(std::string(name) + ".safetensors", bytes + header + std::string(8, '\0'));
        }
        return true;
    }();
    return fuzz::read([&] {
        static_cast<void>(shards);
        fuzz::file("model.safetensors.index.json", fuzz::text(data, size));
        FilesRead files;
        const Weights weights(fuzz::folder(), files);
        for (const auto& file : weights.files())
            if (std::filesystem::canonical(file).parent_path() != std::filesystem::canonical(fuzz::folder()))
                std::abort();
    });
}

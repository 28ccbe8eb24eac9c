#include "input_file.hpp"
#include "tangram/model/lora.hpp"

using namespace tangram;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return fuzz::read([&] {
        FilesRead files;
        static_cast<void>(
            read_adapter_settings(fuzz::file("adapter_config.json", fuzz::text(data, size)), files));
    });
}

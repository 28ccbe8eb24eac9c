#include "input_file.hpp"
#include "tangram/model/architectures.hpp"

using namespace tangram;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return fuzz::read([&] {
        FilesRead files;
        const Config config(fuzz::file("config.json", fuzz::text(data, size)), files);
        static_cast<void>(program_of(config));
        static_cast<void>(program_of(config, 2));
    });
}

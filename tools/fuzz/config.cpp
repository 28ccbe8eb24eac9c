#include "input_file.hpp"
#include "tangram/model/architectures.hpp"
#include "tangram/model/unread_keys.hpp"

using namespace tangram;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return fuzz::read([&] {
        FilesRead files;
        const Config config(fuzz::file("config.json", fuzz::text(data, size)), files);
        static_cast<void>(drawn_deviation(config));
        fuzz::read([&] { static_cast<void>(program_of(config, 2)); });
        fuzz::read([&] {
            const std::vector<std::string> labels = trained_labels(config);
            const Program program = program_with_trained_head(config, std::ssize(labels));
            if (const auto token = token_passed_over(config, program);
                token && (*token < 0 || *token >= program.vocabulary_size))
                std::abort();
        });
        static_cast<void>(program_of(config));
        check_unread(config, known_model_keys());
    });
}

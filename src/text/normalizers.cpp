#include "normalizers.hpp"

namespace tangram {

namespace {

void add_normalizers(const JsonPart& part, std::vector<Normalizer>& out) {
    if (part.is_null()) return;
    const std::string type = part.type();
    if (type == "Sequence") {
        for (const auto& inner : part.list("normalizers"))
            add_normalizers({inner, part.file, part.what}, out);
    } else if (type == "Prepend") {
        out.emplace_back([front = part.text("prepend")](NormalizedText& text) {
            if (!text.text().empty()) text.prepend(front);
        });
    } else if (type == "Replace") {
        if (part.at("pattern").has("Regex"))
            part.refuse("normalizer \"Replace\" of a Regex is not supported");
        const std::string pattern = part.at("pattern").text("String");
        if (pattern.empty()) part.refuse("normalizer \"Replace\" has an empty pattern");
        out.emplace_back([pattern, content = part.text("content")](NormalizedText& text) {
            text.replace(pattern, content);
        });
    } else {
        part.refuse_type();
    }
}

}  // namespace

std::vector<Normalizer> read_normalizers(const JsonPart& part) {
    std::vector<Normalizer> normalizers;
    add_normalizers(part, normalizers);
    return normalizers;
}

}  // namespace tangram

#include "tangram/jacobian/selection.hpp"

#include <fmt/core.h>
#include <fnmatch.h>

#include <algorithm>

#include "tangram/error.hpp"
#include "tangram/files/nearest.hpp"

namespace tangram {

std::vector<ParameterId> select_parameters(const Program& program, const std::vector<std::string>& patterns) {
    const std::vector<Parameter>& parameters = program.parameters();
    std::vector<bool> selected(parameters.size(), false);
    for (const std::string& pattern : patterns) {
        bool any = false;
        for (ParameterId p = 0; p < parameters.size(); ++p) {
            const bool match = pattern == "all" || pattern == name(parameters[p].kind) ||
                               fnmatch(pattern.c_str(), parameters[p].name.c_str(), 0) == 0;
            if (match) selected[p] = any = true;
        }
        if (!any) {
            std::vector<std::string> names{"all", "attention", "mlp", "norm", "embedding", "head"};
            for (const Parameter& parameter : parameters) names.push_back(parameter.name);
            const std::string close = nearest(pattern, names),
                              wider = "*" + pattern + (pattern.ends_with('*') ? "" : "*");
            const auto found = std::ranges::count_if(parameters, [&](const Parameter& parameter) {
                return fnmatch(wider.c_str(), parameter.name.c_str(), 0) == 0;
            });
            throw Error(ExitStatus::study, ErrorKind::unknown_name,
                        fmt::format("kernel.parameters: \"{}\" selects no tensor of this model; {}", pattern,
                                    close == pattern ? std::string("it has none of this kind")
                                    : found > 0      ? fmt::format("\"{}\" selects {}", wider, found)
                                                     : fmt::format("nearest is \"{}\"", close)));
        }
    }
    std::vector<ParameterId> ids;
    for (ParameterId p = 0; p < parameters.size(); ++p)
        if (selected[p]) ids.push_back(p);
    if (ids.empty())
        throw Error(ExitStatus::study, ErrorKind::degenerate,
                    "kernel.parameters is empty; name at least one pattern or \"all\"");
    return ids;
}

namespace {

/// "layer.3" of "transformer.h.3.ln_1.weight"; the kind where no part of the name is a number.
std::string layer_of(const Parameter& parameter) {
    std::size_t first = 0;
    while (first < parameter.name.size()) {
        const std::size_t end = std::min(parameter.name.find('.', first), parameter.name.size());
        const std::string part = parameter.name.substr(first, end - first);
        if (!part.empty() && part.find_first_not_of("0123456789") == std::string::npos)
            return "layer." + part;
        first = end + 1;
    }
    return name(parameter.kind);
}

}  // namespace

ParameterGroups group_parameters(const Program& program, const std::vector<ParameterId>& parameters,
                                 const std::string& by) {
    ParameterGroups groups;
    if (by == "none") return groups;
    for (const ParameterId p : parameters) {
        const Parameter& parameter = program.parameters()[p];
        const std::string group = by == "kind" ? name(parameter.kind) : layer_of(parameter);
        const auto found = std::find(groups.names.begin(), groups.names.end(), group);
        groups.group_of.push_back(static_cast<std::size_t>(found - groups.names.begin()));
        if (found == groups.names.end()) groups.names.push_back(group);
    }
    return groups;
}

}  // namespace tangram

#pragma once

#include "core/operations/operations.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace minions::core {

/// What a recipe is asked for.
struct ImageBuildSpec {
    std::string recipe = "debian";
    std::string suite;                 ///< of Debian or Ubuntu; empty: the recipe's
    std::string mirror;                ///< URL of an archive; empty: the one that this machine's apt has
    std::vector<std::string> include;  ///< further packages
    std::optional<std::int64_t> size_mb;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("recipe", self.recipe, Field{.doc = "debian or minimal"});
        visit("suite", self.suite, Field{.max_size = 64, .doc = "of Debian or Ubuntu"});
        visit("mirror", self.mirror, Field{.max_size = 2048, .doc = "URL of an archive of packages"});
        visit("include", self.include, Field{.max_size = 256, .doc = "further packages"});
        visit("size_mb", self.size_mb, Field{.min = 16, .max = std::int64_t{1} << 20, .doc = "of the disk"});
    }
};

/// Throws invalid for values that no recipe takes, not_found for a recipe that is not in `recipes`.
void check_build(const ImageBuildSpec& spec, const std::filesystem::path& recipes);

/// Runs the recipe, a script of ours, which puts an image into the empty `output`. Its lines of progress
/// become the operation's; it ends with it. Throws Error{failed} with the last lines that it wrote.
void run_recipe(OperationContext& context, const ImageBuildSpec& spec, const std::filesystem::path& recipes,
                const std::filesystem::path& agent, const std::filesystem::path& output);

}  // namespace minions::core

# What `cpack -G DEB` does to the staged files before it packs them, as Debian's policy has it: manual pages and changelog
# compressed without a time in them, the modulefile with the prefix that the package has, and lintian told why what it finds is meant so.
if(NOT CPACK_GENERATOR STREQUAL "DEB")
  return()
endif()
set(staged ${CPACK_TEMPORARY_INSTALL_DIRECTORY}${CPACK_PACKAGING_INSTALL_PREFIX}/share)
file(WRITE ${staged}/doc/tangram/changelog "tangram (${CPACK_PACKAGE_VERSION}) unstable; urgency=low

  * What changed stands in docs/CHANGELOG.md beside this file.

 -- ${CPACK_PACKAGE_CONTACT}  Sat, 28 Nov 2026 12:00:00 +0000
")
file(WRITE ${staged}/lintian/overrides/tangram "# tangram-plot --help and tangram-submit --help say all there is to say.
tangram: no-manual-page [usr/bin/tangram-plot]
tangram: no-manual-page [usr/bin/tangram-submit]
")
file(GLOB modulefile ${staged}/tangram/modulefile-*)
file(READ ${modulefile} lines)
string(REGEX REPLACE "set prefix [^\n]*" "set prefix ${CPACK_PACKAGING_INSTALL_PREFIX}" lines "${lines}")
file(WRITE ${modulefile} "${lines}")
execute_process(COMMAND gzip -9 -n -f ${staged}/man/man1/tangram.1 ${staged}/doc/tangram/changelog COMMAND_ERROR_IS_FATAL ANY)

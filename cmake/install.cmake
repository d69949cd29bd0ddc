# SPDX-License-Identifier: MIT
#
# What is installed: headers, both libraries, weft.pc for pkg-config and a package for
# find_package(weft). Both can be moved: they name their places relative to their own.
include(CMakePackageConfigHelpers)

install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS weft weft-static EXPORT weft-targets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})

if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(WEFT_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
    set(WEFT_PC_LIBDIR ${CMAKE_INSTALL_FULL_LIBDIR})
    set(WEFT_PC_INCLUDEDIR ${CMAKE_INSTALL_FULL_INCLUDEDIR})
else()
    file(RELATIVE_PATH WEFT_PC_UP "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
    string(REGEX REPLACE "/$" "" WEFT_PC_UP "${WEFT_PC_UP}")
    set(WEFT_PC_PREFIX "\${pcfiledir}/${WEFT_PC_UP}")
    set(WEFT_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
    set(WEFT_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(weft.pc.in weft.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/weft.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# For gdb: to be sourced by hand, and where a gdb of the same prefix finds it by itself when
# the shared library is loaded.
set(WEFT_GDB_SCRIPT tools/gdb/weft-gdb.py)
install(FILES ${WEFT_GDB_SCRIPT} DESTINATION ${CMAKE_INSTALL_DATADIR}/weft)
install(FILES ${WEFT_GDB_SCRIPT}
    DESTINATION ${CMAKE_INSTALL_DATADIR}/gdb/auto-load${CMAKE_INSTALL_FULL_LIBDIR}
    RENAME $<TARGET_FILE_NAME:weft>-gdb.py)

set(WEFT_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/weft)
install(EXPORT weft-targets NAMESPACE weft:: DESTINATION ${WEFT_PACKAGE_DIR})
configure_package_config_file(cmake/weft-config.cmake.in weft-config.cmake
    INSTALL_DESTINATION ${WEFT_PACKAGE_DIR})
# Before 1.0 a new minor version may break what the last one allowed.
write_basic_package_version_file(weft-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES
    ${PROJECT_BINARY_DIR}/weft-config.cmake
    ${PROJECT_BINARY_DIR}/weft-config-version.cmake
    DESTINATION ${WEFT_PACKAGE_DIR})

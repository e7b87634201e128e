// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A stand-in for fwpuclnt.dll. It is no filter engine: it writes down which calls are made with what, and fails three of them as
// `examples/calls.rs` expects. Structures are Windows' own, out of mingw's headers, so that a field that is not where it should be shows.

#include <stdio.h>
#include <string.h>

#include <windows.h>
#include <fwpmtypes.h>

#define EXPORT __declspec(dllexport)

static const UINT64 FILTER = 0x1122334455667788;
static size_t opened, commits;
static int aborted;

static void note(const char *text)
{
    printf("%s\n", text);
    fflush(stdout);
}

static const char *key(const GUID *guid)
{
    static const GUID expected = { 0x01020304, 0x0506, 0x0708, { 9, 10, 11, 12, 13, 14, 15, 16 } };

    return memcmp(guid, &expected, sizeof(expected)) ? "another key" : "key";
}

static size_t number(HANDLE handle)
{
    return (size_t)handle - 0x1000;
}

EXPORT DWORD WINAPI FwpmEngineOpen0(const wchar_t *server, UINT32 service, void *identity, const FWPM_SESSION0 *session, HANDLE *handle)
{
    printf("open %zu server=%s service=%u identity=%s flags=%u timeout=%u\n", ++opened, server ? "?" : "none", service,
           identity ? "?" : "none", session->flags, session->txnWaitTimeoutInMSec);
    *handle = (HANDLE)(0x1000 + opened);
    return 0;
}

EXPORT DWORD WINAPI FwpmEngineClose0(HANDLE handle)
{
    printf("close %zu\n", number(handle));
    return 0;
}

EXPORT DWORD WINAPI FwpmTransactionBegin0(HANDLE handle, UINT32 flags)
{
    printf("begin %zu flags=%u\n", number(handle), flags);
    return 0;
}

EXPORT DWORD WINAPI FwpmTransactionCommit0(HANDLE handle)
{
    printf("commit %zu\n", number(handle));
    return ++commits == 4 ? RPC_S_CALL_FAILED : 0;
}

EXPORT DWORD WINAPI FwpmTransactionAbort0(HANDLE handle)
{
    printf("abort %zu\n", number(handle));
    return 0;
}

EXPORT DWORD WINAPI FwpmProviderAdd0(HANDLE handle, const FWPM_PROVIDER0 *provider, void *sd)
{
    printf("add provider %zu %s sd=%s\n", number(handle), key(&provider->providerKey), sd ? "?" : "none");
    return 0;
}

EXPORT DWORD WINAPI FwpmSubLayerAdd0(HANDLE handle, const FWPM_SUBLAYER0 *sublayer, void *sd)
{
    printf("add sublayer %zu %s weight=%u sd=%s\n", number(handle), key(&sublayer->subLayerKey), sublayer->weight, sd ? "?" : "none");
    return 0;
}

EXPORT DWORD WINAPI FwpmCalloutAdd0(HANDLE handle, const FWPM_CALLOUT0 *callout, void *sd, UINT32 *id)
{
    printf("add callout %zu %s sd=%s id=%s\n", number(handle), key(&callout->calloutKey), sd ? "?" : "none", id ? "?" : "none");
    return 0;
}

EXPORT DWORD WINAPI FwpmFilterAdd0(HANDLE handle, const FWPM_FILTER0 *filter, void *sd, UINT64 *id)
{
    printf("add filter %zu %s sd=%s\n", number(handle), key(&filter->subLayerKey), sd ? "?" : "none");
    if (!aborted) {
        aborted = 1;
        return (DWORD)FWP_E_SESSION_ABORTED;
    }
    *id = FILTER;
    return 0;
}

static DWORD delete(const char *what, HANDLE handle, const GUID *guid, DWORD status)
{
    printf("delete %s %zu %s\n", what, number(handle), key(guid));
    return status;
}

EXPORT DWORD WINAPI FwpmProviderDeleteByKey0(HANDLE handle, const GUID *guid) { return delete("provider", handle, guid, 0); }
EXPORT DWORD WINAPI FwpmSubLayerDeleteByKey0(HANDLE handle, const GUID *guid) { return delete("sublayer", handle, guid, 0); }
EXPORT DWORD WINAPI FwpmCalloutDeleteByKey0(HANDLE handle, const GUID *guid) { return delete("callout", handle, guid, (DWORD)FWP_E_CALLOUT_NOT_FOUND); }

EXPORT DWORD WINAPI FwpmFilterDeleteById0(HANDLE handle, UINT64 id)
{
    printf("delete filter %zu %s\n", number(handle), id == FILTER ? "id" : "another id");
    return 0;
}

static DWORD get(const char *what, HANDLE handle, const char *by, void **found, DWORD status)
{
    static char object;

    printf("get %s %zu %s\n", what, number(handle), by);
    if (!status)
        *found = &object;
    return status;
}

EXPORT DWORD WINAPI FwpmProviderGetByKey0(HANDLE handle, const GUID *guid, void **found) { return get("provider", handle, key(guid), found, 0); }
EXPORT DWORD WINAPI FwpmSubLayerGetByKey0(HANDLE handle, const GUID *guid, void **found) { return get("sublayer", handle, key(guid), found, 0); }
EXPORT DWORD WINAPI FwpmCalloutGetByKey0(HANDLE handle, const GUID *guid, void **found) { return get("callout", handle, key(guid), found, (DWORD)FWP_E_CALLOUT_NOT_FOUND); }
EXPORT DWORD WINAPI FwpmFilterGetById0(HANDLE handle, UINT64 id, void **found) { return get("filter", handle, id == FILTER ? "id" : "another id", found, 0); }

EXPORT void WINAPI FwpmFreeMemory0(void **memory)
{
    note(*memory ? "free" : "free nothing");
    *memory = NULL;
}

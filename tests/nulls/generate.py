# SPDX-License-Identifier: MIT
"""Makes tests in which one pointer is NULL: one for each pointer of each public function.

    python3 tests/nulls/generate.py INCLUDE OUTPUT DEPENDENCIES CC...

INCLUDE is the folder that contains gradus/. DEPENDENCIES is a file for ninja that lists the inputs
of OUTPUT. CC is the compiler, which runs as the preprocessor. A pointer is a parameter, a member of
a struct that is passed by value or by pointer, or an element of an array of pointers. The other
arguments have the values of VALUES. support.h has the checks: nothing crashes, the call fails with
the error NULL, and the context can be freed. Another test of each function passes all of its
pointers and must succeed. Otherwise the failures would prove nothing.

A new function needs no edit here if VALUES has its types. An unknown type is an error, and so is an
entry that is no longer used. So no pointer is left out silently.
"""
import re
import subprocess
import sys
from pathlib import Path

# ---- What is known -------------------------------------------------------------------------------

# C expressions. The key is the first of these that exists: FUNCTION.PARAMETER or STRUCT.MEMBER,
# TYPE NAME, TYPE. A pointer to a struct of the headers needs no entry, because the values of its
# members are used. A member that is not a pointer is 0, unless there is a STRUCT.MEMBER. An enum
# has its first value.
VALUES = {
    'bool': 'false',
    'int': '1',
    'int axis': '0',
    'int64_t': '1',
    'int64_t row': '0',
    'int64_t column': '0',
    'int64_t i': '0',
    'int64_t start': '0',
    'double': '1',
    'gr_dims': 'gr_shape(2, 2)',
    'gr_dims order': 'gr_axes(1, 0)',
    'gr_dims index': 'gr_index(1, 1)',

    'gr_context *': 'own',
    'gr_tensor *': 'matrix()',
    'gr_tensor *const *': 'list_of(matrix()).at',
    'gr_tensors': 'list_of(parameter())',
    'gr_mlp *': 'mlp()',
    'gr_optimizer *': 'optimizer()',
    'gr_csv *': 'csv()',
    'gr_archive *': 'archive()',
    'gr_function *': 'sum_of_squares',
    'gr_error_handler *': 'ignore',
    'gr_reduction *': '&reduction',
    'gr_tensor **': 'places',
    'FILE *': 'sink()',
    'double *': 'numbers',
    'int64_t *': 'sizes',
    'void *': 'bytes',
    'const char *const *': 'columns',

    'const char *': '"text"',
    'const char *path': 'out_path()',
    'const char *reduction': '"mean"',
    'const char *isa': '"scalar"',

    'gr_context_free.ctx': 'another_context()',
    'gr_allocator.allocate': 'heap_allocator.allocate',
    'gr_allocator.release': 'heap_allocator.release',
    'gr_dims_from.count': '2',
    'gr_from_data.data': 'numbers',
    'gr_item.x': 'scalar()',
    'gr_read.count': '4',
    'gr_write.count': '4',
    'gr_write_here.count': '4',
    'gr_backward.loss': 'loss()',
    'gr_backward_here.loss': 'loss()',
    'gr_gradient.parameter': 'parameter()',
    'gr_parameter_free.parameter': 'parameter()',
    'gr_grad.y': 'loss()',
    'gr_grad.x': 'parameter()',
    'gr_grad_with.y': 'loss()',
    'gr_grad_here.y': 'loss()',
    'gr_grad_args.seed': 'scalar()',

    'gr_slice.stop': '2',
    'gr_nll_args.target': 'classes()',
    'gr_nll_args.weight': 'vector()',
    'gr_cross_entropy_args.weight': 'vector()',
    'gr_cosine_embedding_args.target': 'vector()',

    'gr_linear.weight': 'parameter()',
    'gr_linear.bias': 'gr_parameter(vector())',
    'gr_linear_free.layer': None,  # made of its members, because the function reads them
    'gr_mlp_new.count': '2',

    'gr_csv_args.path': 'csv_path()',
    'gr_csv_find.name': '"a"',
    'gr_csv_free.csv': 'loose_csv()',
    'gr_load.path': 'archive_path()',
    'gr_named_tensor.name': '"x"',
    'gr_archive_tensor.name': '"x"',
    'gr_archive_free.archive': 'loose_archive()',

    'gr_gradcheck_with.inputs': 'list_of(doubles())',
    'gr_gradcheck_here.inputs': 'list_of(doubles())',
    'gr_op.arity': '1',
    'gr_op.shape': 'own_shape',
    'gr_op.scratch': 'own_scratch',
    'gr_op.run': 'own_run',
    'gr_op.vjp': 'own_rule',
    'gr_op.fused_vjp': 'own_rule',
    'gr_op.add_vjp': 'own_add_rule',
    'gr_raise.status': 'GR_ERROR_SHAPE',
    'gr_raise.format': '"%s"',
    'gr_raise....': '"text"',
    'gr_reduction_from_name.name': '"mean"',
}

# Pointers that may be NULL, with the sentence of a header that allows it. The header must have this
# sentence. Keys as above.
NONE = '(NULL and GR_UNSET stand for None)'
ZERO = 'Every zero is the default.'
OPTIONAL = {
    'const char *file': 'file may be NULL',

    'gr_context_new.options': 'options may be NULL',
    'gr_context_options.allocator': ZERO,
    'gr_context_options.handler': ZERO,
    'gr_context_options.handler_data': 'given to the handler',
    'gr_context_options.isa': ZERO,
    'gr_allocator.state': 'void *(*allocate)(void *state, size_t bytes, size_t alignment);',
    'gr_grad_args.seed': "seed: y's shape and dtype, NULL for ones",
    'gr_grad_with.args': 'args may be NULL. gradients:',
    'gr_grad_here.args': 'args may be NULL. gradients:',
    'gr_hessian.data': 'typedef gr_tensor *gr_function(gr_tensors inputs, void *data);',

    'gr_bce_args.weight': 'scales the loss; NULL: 1',
    'gr_bce_args.pos_weight': 'scales the part of the loss that y multiplies; NULL: 1',
    'gr_bce_args.mask': 'NULL: all elements count',
    'gr_nll_args.weight': 'gr_tensor *weight; /* w; NULL: 1 */',
    'gr_cross_entropy_args.weight': 'gr_tensor *weight; /* w; NULL: 1 */',
    'gr_multilabel_soft_margin_args.weight': 'w, such as [C]; NULL: 1',

    'gr_csv_tensor.missing': 'NULL: a missing cell is an error',

    'gr_gradcheck_with.data': 'gr_gradcheck(f, NULL, gr_list(x, w)',
    'gr_gradcheck_here.data': 'gr_gradcheck(f, NULL, gr_list(x, w)',
    'gr_gradcheck_with.args': 'args: NULL for the defaults.',
    'gr_gradcheck_here.args': 'args: NULL for the defaults.',
    'gr_gradcheck_args.report': 'filled, if given',
    'gr_gradcheck_args.name': 'the name in the report; NULL: "f"',

    'gr_apply_with.attributes': 'copied; NULL if there are none',
    'gr_apply_results.attributes': 'copied; NULL if there are none',
    'gr_apply_results.ctx': 'ctx may be NULL where there are operands',
    'gr_apply_results_here.attributes': 'copied; NULL if there are none',
    'gr_apply_results_here.ctx': 'ctx may be NULL where there are operands',
    'gr_op.formula': 'in C, of x or of a, b, c; NULL',
    'gr_op.shape': 'Default: operands broadcast, dtype of the first.',
    'gr_op.scratch': 'The bytes of scratch that run needs. Default: none.',
    'gr_op.vjp': 'Without a rule the sweep fails with GRADIENT',
    'gr_op.fused_vjp': 'Default: vjp.',
    'gr_op.add_vjp': 'Default: the rules above.',

    'gr_reduction_from_name.name': 'NULL is "mean"',
    'gr_torch_binary_cross_entropy_with_logits.weight': NONE,
    'gr_torch_binary_cross_entropy_with_logits.pos_weight': NONE,
    'gr_torch_binary_cross_entropy_with_logits.reduction': NONE,
    'gr_torch_binary_cross_entropy.weight': NONE,
    'gr_torch_binary_cross_entropy.reduction': NONE,
    'gr_torch_bce_loss.weight': NONE,
    'gr_torch_bce_loss.reduction': NONE,
    'gr_torch_bce_with_logits_loss.weight': NONE,
    'gr_torch_bce_with_logits_loss.pos_weight': NONE,
    'gr_torch_bce_with_logits_loss.reduction': NONE,
    'gr_mindspore_binary_cross_entropy_with_logits.weight': 'weight, pos_weight: NULL for ones',
    'gr_mindspore_binary_cross_entropy_with_logits.pos_weight': 'weight, pos_weight: NULL for ones',
    'gr_mindspore_binary_cross_entropy_with_logits.reduction': NONE,
    'gr_mindspore_bce_with_logits_loss.reduction': NONE,
    'gr_mindspore_nn_bce_with_logits_loss.weight': NONE,
    'gr_mindspore_nn_bce_with_logits_loss.pos_weight': NONE,
    'gr_mindspore_nn_bce_with_logits_loss.reduction': NONE,
    'gr_mint_binary_cross_entropy.weight': NONE,
    'gr_mint_binary_cross_entropy.reduction': NONE,
    'gr_mint_binary_cross_entropy_with_logits.weight': NONE,
    'gr_mint_binary_cross_entropy_with_logits.pos_weight': NONE,
    'gr_mint_binary_cross_entropy_with_logits.reduction': NONE,
}

# Maps a function or a type of result to the WORD of given_WORD and refused_WORD in support.h.
RESULTS = {
    'gr_tensor *': 'tensor',
    'gr_status': 'status',
    'gr_mlp *': 'mlp',
    'gr_optimizer *': 'optimizer',
    'gr_csv *': 'csv',
    'gr_archive *': 'archive',
    'gr_linear': 'linear',
    'double': 'number',
    'gr_context_new': 'new_context',
    'gr_context_of': 'context',
    # These return the given status or the current error. This does not show if the call failed.
    'gr_raise': 'raised',
    'gr_error': 'error',
}

# Results that cannot show a failure. The call must not crash. With all pointers given, there must
# be no error.
PLAIN = {'void', 'bool', 'int', 'int64_t', 'const char *', 'void *', 'const void *', 'gr_dtype',
         'gr_dims', 'gr_tensors', 'gr_memory_report'}

# Code that must come before the call.
BEFORE = {'gr_no_grad_end': 'gr_no_grad_begin(own);'}


def die(text):
    sys.exit(f'tests/nulls/generate.py: {text}')


# ---- The headers ---------------------------------------------------------------------------------

def read_headers(folder, compiler, output, dependencies):
    """Returns the preprocessed declarations on one line, and the text of the headers."""
    headers = sorted(Path(folder, 'gradus').glob('*.h'))
    if not headers:
        die(f'there are no headers in {folder}/gradus')
    units = ''.join(f'#include <gradus/{header.name}>\n' for header in headers)
    done = subprocess.run([*compiler, '-E', '-P', '-DGR_NO_PLACES', f'-I{folder}', '-x', 'c', '-',
                           '-MD', '-MF', dependencies, '-MQ', output],
                          input=units, capture_output=True, text=True)
    if done.returncode:
        die(f'{compiler[0]} -E: {done.stderr}')
    with open(dependencies, 'a') as file:
        file.write(f'{output}: {folder}/gradus\n')  # it changes with its list of headers
    seen = one_line(done.stdout).replace('_Bool', 'bool')
    written = one_line(re.sub(r'^ \*', '', '\n'.join(h.read_text() for h in headers), flags=re.M))
    return seen[seen.index('typedef struct gr_context'):], written


def one_line(text):
    return re.sub(r'\s+', ' ', text)


def split_at(text, mark):
    """Splits text at a mark outside all parentheses."""
    parts, depth = [''], 0
    for char in text:
        depth += (char in '([') - (char in ')]')
        if char == mark and depth == 0:
            parts.append('')
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


class Declared:
    """Name and type of a parameter, a member or a function's result."""

    def __init__(self, text, where):
        text = re.sub(r'\bstruct (?=gr_)', '', text)
        pointer = re.fullmatch(r'(.*?)\(\*\s*(\w+)\)\s*\(.*\)', text)
        plain = re.fullmatch(r'(.*?)\b(\w+)\s*((?:\[[^]]*\])*)', text)
        if pointer:
            self.type, self.name, self.array = 'function', pointer[2], False
        elif plain and plain[1].strip():
            self.type, self.name, self.array = tidy(plain[1]), plain[2], bool(plain[3])
        else:
            die(f'{where}: "{text}" is a declaration without a name')
        self.key = f'{where}.{self.name}'

    def is_read(self):
        """Returns False for a struct that the function only fills. VALUES has the others."""
        return not self.type.endswith('*') or self.type.startswith('const ') or self.key in VALUES

    def may_be_null(self):
        """Returns the key of OPTIONAL that allows it, or None."""
        keys = (self.key, f'{self.type}{self.name}')
        return next((key for key in keys if key in OPTIONAL), None)

    def is_pointer(self):
        return self.type.endswith('*') or self.type == 'function'

    def points_to(self):
        """Returns the type that the pointer points to, without const."""
        return re.sub(r'^const ', '', self.type).removesuffix('*').strip()

    def has_elements(self):
        """Returns True for an array of pointers that the function reads."""
        return self.type.endswith('*const *')


def tidy(text):
    return re.sub(r' ?\* ?', ' *', text.strip()).replace('* *', '**').replace('*const', '*const ') \
        .replace('*const  *', '*const *').strip()


def members_of(body, where):
    found = []
    for text in split_at(body, ';'):
        parts = split_at(text, ',')
        base = re.match(r'(?:const )?\w+', parts[0])[0]
        for i, part in enumerate(parts):
            found.append(Declared(part if i == 0 else f'{base} {part}', where))
    return found


def read_structs(seen):
    found = {}
    for match in re.finditer(r'struct (gr_\w+) \{([^{}]*)\}', seen):
        found[match[1]] = members_of(match[2], match[1])
    return found


def read_functions(seen):
    """Returns a map: name -> (type of the result, parameters, True if more may follow)."""
    found = {}
    exported = r'__attribute__ ?\(\(visibility\("default"\)\)\)([^;]*);'
    for match in re.finditer(exported, seen):
        text = re.sub(r'__attribute__ ?\(\((?:[^()]|\([^()]*\))*\)\)', '', match[1]).strip()
        parts = re.fullmatch(r'(.*?)\b(gr_\w+) ?\((.*)\)', text)
        if not parts:
            die(f'"{text}" is no declaration of a function')
        words = [] if parts[3].strip() == 'void' else split_at(parts[3], ',')
        more = words[-1:] == ['...']
        found[parts[2]] = (tidy(parts[1]), [Declared(word, parts[2]) for word in
                                            words[:len(words) - more]], more)
    if len(found) < 100:
        die(f'only {len(found)} functions were found in the headers')
    return found


# ---- Values --------------------------------------------------------------------------------------

class Maker:
    """Writes the variables that a call needs. null is the path of the pointer that becomes NULL,
    such as "args.target", or None. nulls lists all paths, each with its key of OPTIONAL."""

    def __init__(self, structs, enums, null):
        self.structs, self.enums, self.null = structs, enums, null
        self.lines, self.nulls = [], []

    def value(self, thing):
        """Returns the expression for it. None: it is made of its members."""
        plain = re.sub(r'^const ', '', thing.type)
        for key in (thing.key, f'{thing.type} {thing.name}', f'{thing.type}{thing.name}',
                    thing.type, plain):
            if key in VALUES:
                used.add(key)
                return VALUES[key]
        if thing.type in self.enums:
            return f'({thing.type})0'
        if thing.points_to() in self.structs and not thing.type.endswith('**'):
            return None
        return die(f'{thing.key}: no value is known for the type "{thing.type}": '
                   'it is to be added to VALUES')

    def begin(self, struct):
        """Returns what a struct holds at first: its defaults, if there are any."""
        names = [member.name for member in self.structs[struct]]
        if 'from_defaults' in names:
            return struct.removesuffix('_args') + '_defaults()'
        return '{0}'

    def make(self, thing, path, name):
        """Declares a variable of that name for a parameter. fill does this for a member."""
        value = self.value(thing)
        if self.null == path:
            value = 'nothing'
        elif value is None and thing.is_pointer():
            self.lines.append(f'{thing.points_to()} {name}_is = {self.begin(thing.points_to())};')
            if thing.is_read():
                self.fill(thing.points_to(), path, f'{name}_is')
            value = f'&{name}_is'
        elif value is None:
            self.lines.append(f'{thing.type} {name} = {{0}};')
            self.fill(thing.type, path, name)
            return
        space = '' if thing.type.endswith('*') else ' '
        self.lines.append(f'{thing.type}{space}{name} = {value};')
        if not thing.is_pointer() and thing.type in self.structs:
            self.empty(thing.type, path, name)
        self.note(thing, path, name)

    def fill(self, struct, path, name):
        """Sets the members of a variable that need a value."""
        for member in self.structs[struct]:
            inside = f'{path}.{member.name}'
            by_value = member.type in self.structs and not member.array
            pointers = by_value and any(m.is_pointer() for m in self.structs[member.type])
            if not (member.is_pointer() or pointers or member.key in VALUES):
                continue
            value = self.value(member)
            if self.null == inside:
                value = 'nothing'
            elif value is None:
                below = f'{name}_{member.name}'
                self.lines.append(f'{member.points_to()} {below} = {{0}};')
                if member.is_read():
                    self.fill(member.points_to(), inside, below)
                value = f'&{below}' if member.is_pointer() else below
            self.lines.append(f'{name}.{member.name} = {value};')
            if pointers:
                self.empty(member.type, inside, f'{name}.{member.name}')
            self.note(member, inside, f'{name}.{member.name}')

    def empty(self, struct, path, name):
        """Handles the pointers of a struct that already has its value."""
        for member in self.structs[struct]:
            inside = f'{path}.{member.name}'
            if self.null == inside:
                self.lines.append(f'{name}.{member.name} = nothing;')
            self.note(member, inside, f'{name}.{member.name}')

    def note(self, thing, path, name):
        """Handles a pointer that may become NULL, or one of whose elements may."""
        if not thing.is_pointer():
            return
        self.nulls.append((path, thing.may_be_null()))
        if thing.has_elements():
            self.nulls.append((f'{path}[0]', None))
            if self.null == f'{path}[0]':
                self.lines.append(f'{name} = (void *)no_elements;')


used = set()


# ---- Tests ---------------------------------------------------------------------------------------

def result_word(function, result):
    for key in (function, result):
        if key in RESULTS:
            used.add(key)
            return RESULTS[key]
    if result in PLAIN or result.endswith('_args'):
        return None
    return die(f'{function}: the result "{result}" is not known: it is to be added to RESULTS '
               'or PLAIN')


def write_test(function, declared, structs, enums, null, optional):
    """Returns the text of the test, and all pointers. optional: null's key of OPTIONAL."""
    result, parameters, more = declared
    maker = Maker(structs, enums, null)
    for parameter in parameters:
        maker.make(parameter, parameter.name, 'the_' + parameter.name)
    words = ['the_' + parameter.name for parameter in parameters]
    if more:
        if f'{function}....' not in VALUES:
            die(f'{function}: nothing is known for "..."')
        words.append(VALUES[f'{function}....'])
        used.add(f'{function}....')
    lines = maker.lines
    if function in BEFORE:
        used.add(function)
        lines.insert(0, BEFORE[function])
    word, call = result_word(function, result), f'{function}({", ".join(words)})'
    given = null is None or optional is not None
    used.add(optional)
    if word:
        lines.append(f'{"given" if given else "refused"}_{word}({call});')
    elif result == 'void':
        lines.append(f'{call};')
    else:
        lines.append(f'(void){call};')
    if given and word not in ('raised', 'new_context'):
        lines.append('expect_no_error();')
    lines.append('leave();')
    name = re.sub(r'\W+', '_', null or 'given').strip('_')
    text = '\n    '.join(lines)
    return f'Test(nulls, {function}__{name})\n{{\n    {text}\n}}\n', maker.nulls


def write_tests(function, declared, structs, enums):
    text, nulls = write_test(function, declared, structs, enums, None, None)
    if not nulls:
        return []
    return [text] + [write_test(function, declared, structs, enums, path, optional)[0]
                     for path, optional in nulls]


def check_tables(written):
    for key, words in OPTIONAL.items():
        if one_line(words) not in written:
            die(f'OPTIONAL: {key}: no header says "{words}" any more')
    for key in [*VALUES, *OPTIONAL]:
        if ('.' in key or key in OPTIONAL) and key not in used:
            die(f'{key} is not in the headers any more, or needs no entry')
    for key in [*RESULTS, *BEFORE]:
        if key not in used:
            die(f'{key} is not in the headers any more')


def main(folder, output, dependencies, *compiler):
    seen, written = read_headers(folder, compiler, output, dependencies)
    structs, functions = read_structs(seen), read_functions(seen)
    enums = set(re.findall(r'typedef enum (gr_\w+) \{', seen))
    tests = []
    for function, declared in functions.items():
        tests += write_tests(function, declared, structs, enums)
    check_tables(written)
    Path(output).write_text('/* Made by tests/nulls/generate.py. */\n'
                            '#include "tests/nulls/support.h"\n#include <criterion/criterion.h>\n\n'
                            'TestSuite(nulls, .init = enter);\n\n' + '\n'.join(tests))


if __name__ == '__main__':
    if len(sys.argv) < 5:
        die('usage: generate.py INCLUDE OUTPUT DEPENDENCIES CC...')
    main(*sys.argv[1:])

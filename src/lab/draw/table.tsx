// A table, which scrolls by itself where it is wider than its place. Columns of numbers stand at the right.
import type { ComponentChildren, JSX } from "preact";
import { Scroll } from "./scroll.tsx";

type Column = string | JSX.Element | { readonly number: string | JSX.Element };

interface TableProps {
  readonly label: string;
  readonly columns: readonly Column[];
  readonly children: ComponentChildren;
  readonly class?: string;
  readonly name?: string;
}

export function Table({ label, columns, children, name, ...rest }: TableProps) {
  return (
    <Scroll label={label}>
      <table data-table={name} {...rest}>
        <thead>
          <tr>
            {columns.map((column, i) => {
              const [title, kind] = typeof column === "object" && "number" in column ? [column.number, "number"] : [column];
              return (
                <th scope="col" class={kind} key={i}>
                  {title}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </Scroll>
  );
}
